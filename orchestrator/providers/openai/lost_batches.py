"""Finds lost batches: one reading of the list serves all threads that asked before it began.

Rule 1: only a list that was read after the question proves that a batch is absent. So no thread joins a reading that
        has begun: it waits for the next one.
Rule 2: a batch that was found is found, whatever came of the rest of the reading. For the other threads a reading that
        failed, or that left something unread, is an error.
Rule 3: a reading keeps only batches with a mark that a thread asked for: memory grows with the threads, not the list.

See docs/decisions/0017-one-list-read-for-many-ambiguous-creates.md.
"""

from __future__ import annotations

import copy
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.batch import Listed
from orchestrator.domain.errors import ProviderError, Unidentified
from orchestrator.domain.model import BatchId, FileId
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.listing import UNTOLD, Page, created_at, pages
from orchestrator.providers.openai.wire import file_of, token_of


@dataclass(slots=True, eq=False)
class _Search:
    """The search of one thread, and its results."""

    token: str
    since: datetime
    file_id: FileId | None
    found: dict[BatchId, Listed] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Walk:
    """One reading of the list, and the searches that it is for."""

    searches: list[_Search] = field(default_factory=list)
    is_over: bool = False
    error: ProviderError | None = None


class SharedSearch:
    """The list of one account, searched for all threads of a process; one walk at a time."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._turn = threading.Condition()
        self._next = _Walk()  # the one that has not begun
        self._is_walking = False

    def find(self, token: str, since: datetime, file_id: FileId | None) -> Sequence[Listed]:
        """Return the batches of an attempt, oldest first, by a list read after this call. Raises ProviderError."""
        search = _Search(token, since, file_id)
        with self._turn:
            walk = self._next
            walk.searches.append(search)
            self._turn.wait_for(lambda: walk.is_over or not self._is_walking)
            is_ours = not walk.is_over
            self._is_walking |= is_ours
            if is_ours and walk is self._next:
                self._next = _Walk()  # it begins: no thread may join any more
        if is_ours:
            self._lead(walk)
        if walk.error is not None and not search.found:
            raise copy.copy(walk.error)  # each thread adds its own traceback to the error
        return sorted(search.found.values(), key=lambda batch: (batch.created_at, batch.batch_id))

    def _lead(self, walk: _Walk) -> None:
        """Read the list for all threads. An error other than a ProviderError is this thread's: another reads again."""
        is_over = False
        try:
            walk.error = _run(walk, self._http)
            is_over = True
        finally:
            with self._turn:
                walk.is_over, self._is_walking = is_over, False
                self._turn.notify_all()


def _run(walk: _Walk, http: HttpClient) -> ProviderError | None:
    """Read the list, newest first, back to the earliest time that is asked for.

    Return why it does not prove that a batch is absent; None where it does.
    """
    since, is_whole = min(search.since for search in walk.searches), True
    by_token, by_file = defaultdict[str, list[_Search]](list), defaultdict[str, list[_Search]](list)
    for search in walk.searches:
        by_token[search.token].append(search)
        if search.file_id is not None:
            by_file[search.file_id].append(search)
    try:
        for page in pages(http, "/batches"):
            is_whole = is_whole and page.is_whole
            if _take(page, by_token, by_file, since):
                break
    except ProviderError as error:
        return error
    return None if is_whole else Unidentified(UNTOLD)


def _take(page: Page, by_token: dict[str, list[_Search]], by_file: dict[str, list[_Search]], since: datetime) -> bool:
    """Keep the batches of a page that are looked for; return whether all of it is older than what is asked for."""
    times = [created_at(batch) for batch in page.batches]
    for batch, made_at in zip(page.batches, times, strict=True):
        batch_id = BatchId(batch["id"])
        for search in (*by_token.get(token_of(batch), ()), *by_file.get(file_of(batch), ())):
            search.found[batch_id] = Listed(batch_id=batch_id, created_at=made_at or search.since)
    return bool(times) and all(made_at is not None and made_at < since for made_at in times)
