"""The statuses of an account's batches, from its list: many batches are polled at once.

Rule 1: an entry of the board is at most `FRESH_S_MIN` old, or `CALL_EVERY_S` for each page that was read. So with any
    number of batches in flight, the list costs at most one call in `CALL_EVERY_S` seconds.
Rule 2: the board is a cache. A batch that is not on it is polled by itself; an outcome is reported from it once.

See docs/decisions/0015-polls-are-answered-from-the-list.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.errors import NotAuthorized, ProviderError, RateLimited
from orchestrator.domain.model import BatchId
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.listing import Fields, created_at, pages
from orchestrator.providers.openai.wire import status_of

FORBIDDEN: Final = 403
PAGES_MAX: Final = 50  # of a walk for the board
WALK_S_MAX: Final = 60.0
LIST_FROM: Final = 10  # fewer batches than this are polled one by one
FRESH_S_MIN: Final = 5.0
CALL_EVERY_S: Final = 2.0
ASKED_S: Final = 900.0  # a batch that was not asked about for so long is no longer searched for
UNLISTED_S: Final = 60.0  # for so long after a reading that did not find it, a batch is not searched for either
AGE_MAX: Final = timedelta(hours=30)  # of a batch in flight: its window is 24 hours, and some take longer to end


class StatusBoard:
    """The statuses of the account's batches, for all threads of a process; read again when outdated."""

    def __init__(self, http: HttpClient, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._http = http
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
        now, shown, page_count = self._monotonic(), dict[BatchId, BatchStatus](), 0
        wanted = self._wanted(now)
        too_old = datetime.now(UTC) - AGE_MAX
        for page in pages(self._http, "/batches"):
            page_count += 1
            for batch in page.batches:
                status = status_of(batch, self._http.key)
                if status is not None:
                    shown[BatchId(batch["id"])] = status
            # The first reading of a process is complete: a process that has just started will poll every batch.
            is_enough = self._has_walked and wanted <= shown.keys()
            is_spent = page_count >= PAGES_MAX or self._monotonic() - now > WALK_S_MAX
            is_past = bool(page.batches) and all(_is_older(batch, too_old) for batch in page.batches)
            if is_enough or is_spent or is_past:
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


def _is_older(batch: Fields, limit: datetime) -> bool:
    made_at = created_at(batch)
    return made_at is not None and made_at < limit
