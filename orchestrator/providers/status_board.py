"""Answers polls from an account's list: with many batches in flight, one call gives the status of a page of them.

Rule 1: an entry of the board is at most `FRESH_S_MIN` old, or `CALL_EVERY_S` for each page that was read. So with any
    number of batches in flight, the list costs at most one call in `CALL_EVERY_S` seconds.
Rule 2: the board is a cache. A batch that is not on it is polled by itself; an outcome is reported from it once.

See docs/decisions/0015-polls-are-answered-from-the-list.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import NotAuthorized, ProviderError, RateLimited

if TYPE_CHECKING:
    from orchestrator.domain.batch import BatchStatus, Traits
    from orchestrator.domain.model import BatchId
    from orchestrator.ports import HasFiles, HasList, Provider

FORBIDDEN: Final = 403
PAGES_MAX: Final = 50  # of a walk for the board
WALK_S_MAX: Final = 60.0
LIST_FROM: Final = 10  # fewer batches than this are polled one by one
FRESH_S_MIN: Final = 5.0
CALL_EVERY_S: Final = 2.0
ASKED_S: Final = 900.0  # a batch that was not asked about for so long is no longer searched for
UNLISTED_S: Final = 60.0  # for so long after a reading that did not find it, a batch is not searched for either


class PolledFromList:
    """A provider some of whose polls are answered from its list."""

    def __init__(self, provider: Provider, batch_list: HasList) -> None:
        self._provider = provider
        self._board = StatusBoard(batch_list)
        self.create, self.results, self.cancel = provider.create, provider.results, provider.cancel

    @property
    def traits(self) -> Traits:
        """See the port."""
        return self._provider.traits

    @property
    def files(self) -> HasFiles | None:
        """See the port."""
        return self._provider.files

    @property
    def batch_list(self) -> HasList | None:
        """See the port."""
        return self._provider.batch_list

    def status(self, batch_id: BatchId) -> BatchStatus:
        """See the port. The answer may be seconds old."""
        status = self._board.look(batch_id) or self._provider.status(batch_id)
        if not status.is_running:
            self._board.ended(batch_id)
        return status


class StatusBoard:
    """The statuses of the account's batches, for all threads of a process; read again when outdated."""

    def __init__(self, batch_list: HasList, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._list = batch_list
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._walking = threading.Lock()  # one reading at a time; waiting threads use its result
        self._asked: dict[BatchId, float] = {}
        self._unlisted: dict[BatchId, float] = {}  # until when
        self._shown: dict[BatchId, BatchStatus] = {}
        self._fresh_until = self._off_until = 0.0
        self._limited: tuple[float, str] | None = None  # until when the provider allows no calls, and its error
        self._has_walked = False

    def look(self, batch_id: BatchId) -> BatchStatus | None:
        """Return the status of a batch; None where it must be polled by itself. Raises ProviderError."""
        now = self._monotonic()
        with self._lock:
            self._asked[batch_id] = now
            if len(self._asked) < LIST_FROM or now < self._off_until:
                return None
        with self._walking:
            if self._monotonic() >= self._fresh_until:
                self._refresh()
            with self._lock:
                return self._shown.get(batch_id)

    def ended(self, batch_id: BatchId) -> None:
        """Remove a batch, so that the next poll (such as when its results are not there yet) gets the latest status."""
        with self._lock:
            for known in (self._asked, self._unlisted, self._shown):
                known.pop(batch_id, None)

    def _refresh(self) -> None:
        now = self._monotonic()
        if self._limited is not None and now < self._limited[0]:
            raise RateLimited(self._limited[1], status=429, retry_after_s=self._limited[0] - now)
        try:
            self._walk()
        except RateLimited as error:
            # Threads that ask next get the same error without a call.
            self._limited = (now + max(error.retry_after_s or 0.0, FRESH_S_MIN), str(error))
            raise
        except NotAuthorized as error:
            if error.status != FORBIDDEN:
                raise
            self._off_until = now + UNLISTED_S  # the key may ask about each batch, and not list them
        except ProviderError:
            self._off_until = now + UNLISTED_S  # a broken or missing list must not stop the polls

    def _walk(self) -> None:
        shown: dict[BatchId, BatchStatus] = {}
        now, page_count = self._monotonic(), 0
        wanted = self._wanted(now)
        for page in self._list.statuses():
            page_count += 1
            shown |= page
            # The first reading of a process is complete: a process that has just started will poll every batch.
            is_enough = self._has_walked and wanted <= shown.keys()
            if is_enough or page_count >= PAGES_MAX or self._monotonic() - now > WALK_S_MAX:
                break
        with self._lock:
            self._shown, self._has_walked = shown, True
            self._unlisted |= dict.fromkeys(wanted - shown.keys(), now + UNLISTED_S)
            self._fresh_until = self._monotonic() + max(FRESH_S_MIN, CALL_EVERY_S * page_count)

    def _wanted(self, now: float) -> set[BatchId]:
        with self._lock:
            self._asked = {batch_id: at for batch_id, at in self._asked.items() if now - at < ASKED_S}
            self._unlisted = {batch_id: until for batch_id, until in self._unlisted.items() if now < until}
            return set(self._asked) - self._unlisted.keys()
