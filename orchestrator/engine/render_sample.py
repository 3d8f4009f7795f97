"""The sample of a row function: the digest of what it renders for the first rows, a part of the job's identity.

Rule: a function renders the same rows alike whenever it is called, or the job would hold answers to other requests.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.planner.render import CallableRenderer
    from orchestrator.ports import Source

ROWS: Final = 100
AGAIN_S: Final = 1.0  # how long the rows are rendered a second time: a function may take seconds for one


def sample_digest(renderer: CallableRenderer, source: Source) -> str:
    """Return the digest of the requests of the first rows. Raises DatasetError."""
    return _digest(_requests(renderer, source))


def steady_sample_digest(renderer: CallableRenderer, source: Source) -> str:
    """Return the same. Raises ConfigError for a function that renders a row in another way the second time."""
    lines = list(_requests(renderer, source))
    until = time.monotonic() + AGAIN_S
    for number, (first, second) in enumerate(zip(lines, _requests(renderer, source), strict=True)):
        if first != second:
            raise ConfigError(
                f"render gives two different requests for row {number}: it depends on chance, the time, or on what it "
                "was called with before. Make it the same each time: seed chance by the row, take the time from a "
                "column or from a value that does not change"
            )
        if time.monotonic() > until:
            break
    return _digest(lines)


def _requests(renderer: CallableRenderer, source: Source) -> Iterator[bytes]:
    """Yield the lines of the first rows, one at a time, without the ids of their job; empty for a refused row."""
    bare, count = replace(renderer, id_prefix=b""), 0
    for shard in source.shards:
        for batch in source.batches(shard):
            for offset in range(min(batch.num_rows, ROWS - count)):
                yield bare.render(batch.slice(offset, 1), row_start=count + offset).lines[0] or b""
            count += min(batch.num_rows, ROWS - count)
            if count >= ROWS:
                return


def _digest(lines: Iterator[bytes] | list[bytes]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(len(line).to_bytes(8, "big") + line)
    return found.hexdigest()[:16]
