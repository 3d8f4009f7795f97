"""The table of outcomes: read from outcomes.toml, and written out as docs/faults.md.

python -m tests.matrix.outcomes        writes docs/faults.md anew
"""

from __future__ import annotations

import re
import sys
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from tests.matrix.dialects import DIALECTS, Endpoint, Kind
from tests.matrix.faults import FAULTS

TABLE: Final = Path(__file__).parent / "outcomes.toml"
PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "faults.md"
SHARED: Final = frozenset({"anthropic"})  # the answers to its creates are read by the same code as the others'
SHARE: Final = 6  # of the cells of an endpoint that creates nothing, one in so many is quick

NAMES_A_TIME: Final = frozenset({"429_seconds", "429_date", "429_huge", "503_seconds"})
WAIT: Final = re.compile(r"not before (\d+ s)")
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {  # names for faults that mostly have the same outcome
    "no connection": ("connection_refused", "tls_not_spoken", "tls_untrusted"),
    "no answer": ("reset_after_read", "closed_after_read", "not_http", "silence", "slow_headers", "endless_interim"),
    "cut": ("cut_body", "cut_chunked", "slow_body"),
    "wrong body": ("null_200", "list_200", "text_200", "other_object_200", "deep_200", "not_utf8_200", "giant_body"),
    "unreadable body": ("cut_unframed", "html_200", "gzip_bomb"),
    "wrong encoding": ("gzip_broken", "gzip_cut", "unknown_encoding"),
    "wrong header": ("giant_header", "header_injection"),
    "harmless": ("bom", "interim", "gzip"),
    "any 3xx": ("301", "302", "303", "304", "307", "308"),
    "bad request": ("400", "418", "422"),
    "gone": ("404", "410", "404_html"),
    "no credit or key": ("401", "402", "403", "429_quota"),
    "too large": ("413", "413_html"),
    "any 429": ("429", "429_nonsense", "429_negative", "429_queue", "error_in_200_429"),
    "any 5xx": ("500", "501", "502", "503", "504", "529", "599", "500_forged", "502_html"),
}

HEAD: Final = """\
# Provider faults

The outcome of every endpoint of every dialect under every fault of a server or of the way to it. This page is written
from `tests/matrix/outcomes.toml`, and each line is a test: the real step, ledger, adapter and HTTP client against a
real socket that misbehaves (`tests/matrix/acts.py`). In no cell does a server read more than one create of a chunk
before its fate is known, and nothing that a server sends puts control characters or the key into a log line.

An outcome is *error: what comes next*; `none` means that the call succeeded. The words:

- *planned again*: it is certain that nothing was created; the chunk is sent again under a new token. *sent again with
  the same file*: the same, and its input file is not uploaded anew.
- *ambiguous*: there may be a batch. At OneRouter nothing can be asked, and the chunk becomes *unresolved*: a person
  decides. At OpenAI and Anthropic the batch is looked up, and *adopted*, or *proved absent* and planned again.
- *job stopped*: the job's owner must change something, or approve that more is created. *split in two*: the chunk is
  too large, or one of its requests is refused, and is found by halving: nothing of that was created.
- *asked again*, *fetched again*: later, after waits that grow to five minutes, without a limit. A status that is
  *refused* 64 times in a row, which takes two to three hours, and results that are refused or not there for six hours
  become *unresolved*: there may be answers.
- *unreadable*: a row that was answered, or may have been, in a form that cannot be read; it is not sent again.
- *not before*: the provider said how long to wait. *account paused*: nothing more is sent on this account for five
  minutes.
- *kept at try n*: after so many tries the results are accepted as they are.
- *counts as sent*: polling continues, and shows what became of the batch.

Faults in italics are [groups](#groups-of-faults), used where all faults of the group have the outcome.
"""


@cache
def outcomes() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return dialect -> endpoint -> fault -> outcome."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def cells(dialect: str) -> Iterator[tuple[Endpoint, str, bool]]:
    """Yield the cells of a dialect, and whether `make test` runs them: most creates, and a share of the rest."""
    for endpoint in DIALECTS[dialect].endpoints.values():
        for fault in FAULTS:
            is_shared = zlib.crc32(f"{endpoint.name} {fault}".encode()) % SHARE == 0
            yield endpoint, fault, (endpoint.kind is Kind.CREATE and dialect not in SHARED) or is_shared


def rendered() -> str:
    """Return the page."""
    count = sum(len(dialect.endpoints) for dialect in DIALECTS.values())
    parts = [HEAD, f"\n{count} endpoints under {len(FAULTS)} faults = {count * len(FAULTS)} cells.\n"]
    for dialect, endpoints in outcomes().items():
        for name, told in endpoints.items():
            parts.append(f"\n## {dialect}: {name}\n\n`{DIALECTS[dialect].endpoints[name].words}`\n\n")
            parts.append("| outcome | faults |\n| --- | --- |\n")
            for outcome, faults in _grouped(told).items():
                parts.append(f"| {outcome} | {', '.join(_shortened(faults))} |\n")
    parts.append("\n## Groups of faults\n\n| group | faults |\n| --- | --- |\n")
    parts += [f"| *{group}* | {', '.join(faults)} |\n" for group, faults in GROUPS.items()]
    parts.append("\n## The faults\n\nA number alone is that status.\n\n")
    parts.append("| fault | what the server, or the way to it, does |\n| --- | --- |\n")
    named = [fault for fault in FAULTS.values() if fault.words != f"status {fault.name}"]
    parts += [f"| {fault.name} | {fault.words} |\n" for fault in named]
    return "".join(parts)


def _grouped(told: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for fault, outcome in told.items():
        wait = WAIT.search(outcome) if fault in NAMES_A_TIME else None
        if wait is None:
            groups.setdefault(outcome, []).append(fault)
        else:
            named = outcome.replace(wait[1], "the time named")
            groups.setdefault(named, []).append(f"{fault} ({wait[1]})")
    return groups


def _shortened(faults: list[str]) -> Iterator[str]:
    """Yield the groups that are in `faults` as a whole, then the other faults."""
    whole = {group: names for group, names in GROUPS.items() if set(names) <= set(faults)}
    yield from (f"*{group}*" for group in whole)
    yield from (fault for fault in faults if not any(fault in names for names in whole.values()))


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
