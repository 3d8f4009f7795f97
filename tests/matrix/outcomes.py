"""The table of outcomes: read from outcomes.toml, and written out for people as docs/faults.md.

python -m tests.matrix.outcomes        writes docs/faults.md anew
"""

from __future__ import annotations

import sys
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.matrix.dialects import DIALECTS, Endpoint, Kind
from tests.matrix.faults import FAULTS

TABLE: Final = Path(__file__).parent / "outcomes.toml"
PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "faults.md"
SHARE: Final = 6  # of the cells of an endpoint that creates nothing, one in so many is quick

HEAD: Final = """\
# What becomes of a provider's faults

Every endpoint of every dialect, under every fault that a server or the way to it can have: what the call ends with, and
what the step does next. This page is written from `tests/matrix/outcomes.toml`, and each line of it is a test: the real
step, ledger, adapter and HTTP client against a real socket that misbehaves (`tests/matrix/acts.py`). In no cell does a
server read more than one create of a chunk before its fate is known, and none of what a server says reaches a log line
with control characters or the key in it.

An outcome is *the error: what comes next*; `none` means that the call was taken for a success. The words:

- *planned again*: nothing was created, and that is certain; the chunk goes out under a new token.
- *in doubt*: nobody knows whether there is a batch. At OneRouter nothing can be asked, and the chunk is *held* for a
  person; at OpenAI it is looked for, and *adopted*, or *proved absent* and planned again, by itself.
- *job stopped*: the first batch was refused for what it is, or any batch because nothing takes batches there; the
  job's owner mends it. *rows dead*: the first, later, of one chunk.
- *asked again*, *fetched again*: later, after a wait that grows to five minutes, for as long as it takes; but what is
  *refused* that often in a row, which takes two to three hours, is *held* for a person: there may be answers.
- *not before*: the provider said how long to wait. *account paused*: nothing more is sent on this account for five
  minutes.
- *kept at try n*: what could be had after so many tries is taken for all there is.
- *counts as sent*: polling goes on, and shows what became of the batch.
"""


def outcomes() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return dialect -> endpoint -> fault -> outcome."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def cells(dialect: str) -> Iterator[tuple[Endpoint, str, bool]]:
    """Yield the cells of a dialect, and whether `make test` runs them: every create, and a share of the rest."""
    for endpoint in DIALECTS[dialect].endpoints.values():
        for fault in FAULTS:
            is_shared = zlib.crc32(f"{endpoint.name} {fault}".encode()) % SHARE == 0
            yield endpoint, fault, endpoint.kind is Kind.CREATE or is_shared


def rendered() -> str:
    """Return the page."""
    count = sum(len(dialect.endpoints) for dialect in DIALECTS.values())
    parts = [HEAD, f"\n{count} endpoints under {len(FAULTS)} faults = {count * len(FAULTS)} cells.\n"]
    for dialect, endpoints in outcomes().items():
        for name, told in endpoints.items():
            parts.append(f"\n## {dialect}: {name}\n\n`{DIALECTS[dialect].endpoints[name].words}`\n\n")
            parts.append("| outcome | faults |\n| --- | --- |\n")
            parts += [f"| {outcome} | {', '.join(faults)} |\n" for outcome, faults in _grouped(told).items()]
    parts.append("\n## The faults\n\n| fault | what the server, or the way to it, does |\n| --- | --- |\n")
    parts += [f"| {fault.name} | {fault.words} |\n" for fault in FAULTS.values()]
    return "".join(parts)


def _grouped(told: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for fault, outcome in told.items():
        groups.setdefault(outcome, []).append(fault)
    return groups


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
