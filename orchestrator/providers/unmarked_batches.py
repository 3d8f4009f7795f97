"""Finds the batch of a lost create in a list without marks, which shows when a batch was made and its request count.

Rule 1: a batch is a lost create's only if its results name its requests: most of the `custom_id`s read are among them.
    They can be read once the batch has ended. Time and size decide nothing: they only show which batches may be meant.
Rule 2: a batch that another create is known to have made is not meant.
Rule 3: while a batch that may be meant runs, the search fails, to be made again. One that has ended and names no
    requests can never be told: a person decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from typing import Final

import msgspec

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile
from orchestrator.domain.errors import Gone, Unavailable, Unidentified
from orchestrator.domain.model import BatchId
from orchestrator.domain.results_at import ResultsAt
from orchestrator.providers.listing import UNTOLD, Fields, Page, created_at

HEAD_BYTES_MAX: Final = 256 << 10  # of the results
BATCHES_KEPT_MAX: Final = 100


class _Named(msgspec.Struct):
    custom_id: str


_NAMED: Final = msgspec.json.Decoder(_Named)


class UnmarkedBatches:
    """One account's list, searched by results.

    Args:
        pages: reads the list anew, newest first.
        status_of: reads a batch object of it; None where it is none.
        count_of: returns how many requests a batch object names; 0: not known.
        results: reads an ended batch's results, as the port says.
    """

    def __init__(
        self,
        *,
        pages: Callable[[], Iterator[Page]],
        status_of: Callable[[Fields], BatchStatus | None],
        count_of: Callable[[Fields], int],
        results: Callable[[BatchId, ResultsAt], Generator[ResultFile]],
    ) -> None:
        self._pages, self._status_of, self._count_of, self._results = pages, status_of, count_of, results
        self._names: dict[BatchId, Counter[str]] = {}  # of ended batches: their results do not change

    def find(self, lost: LostCreate) -> Sequence[Listed]:
        """Return the batches of a lost create, oldest first. Raises ProviderError: see the module's rule 3."""
        found, running, untold = list[Listed](), "", ""
        candidates, is_whole = self._candidates(lost)
        for batch in candidates:
            batch_id, status = BatchId(batch["id"]), self._status_of(batch)
            if status is None or status.is_running:
                running = batch_id
                continue
            names = self._names_of(batch_id, status.results)
            if not names:
                untold = batch_id
            elif 2 * sum(names[name] for name in names.keys() & lost.custom_ids()) > names.total():
                found.append(Listed(batch_id=batch_id, created_at=created_at(batch) or lost.since))
        what = f"has as many requests as the create whose answer was lost ({lost.request_count:,})"
        if running and not found:
            raise Unavailable(f"batch {running} {what}; once it has ended, its results tell whose it is")
        if untold and not found:
            raise Unidentified(f"batch {untold} {what}, and no results that tell whose it is")
        if not is_whole and not found:
            raise Unidentified(UNTOLD)
        return sorted(found, key=lambda one: (one.created_at, one.batch_id))

    def _candidates(self, lost: LostCreate) -> tuple[list[Fields], bool]:
        """Return the batches of that time and size, and whether there are no others.

        What cannot be read of a batch does not exclude it.
        """
        candidates, known, is_whole = list[Fields](), lost.known(), True
        for page in self._pages():
            is_whole = is_whole and page.is_whole
            times = [created_at(batch) for batch in page.batches]
            candidates += (
                batch
                for batch, made_at in zip(page.batches, times, strict=True)
                if batch["id"] not in known
                and (made_at is None or lost.since <= made_at <= lost.until)
                and self._count_of(batch) in (0, lost.request_count)
            )
            if times and all(made_at is not None and made_at < lost.since for made_at in times):
                break
        return candidates, is_whole

    def _names_of(self, batch_id: BatchId, where: ResultsAt | None) -> Counter[str]:
        """Return the custom_ids at the beginning of a batch's results; none where there are no results."""
        names = self._names.get(batch_id) or Counter[str]()
        if names or where is None:
            return names
        with suppress(Gone), closing(self._results(batch_id, where)) as files:
            for line in _head(next(files)).split(b"\n"):
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    names[_NAMED.decode(line).custom_id] += 1
        if len(self._names) < BATCHES_KEPT_MAX:
            self._names[batch_id] = names
        return names


def _head(file: ResultFile) -> bytes:
    head = b""
    for block in file.blocks:
        head += block
        if len(head) >= HEAD_BYTES_MAX:
            break
    return head
