"""What the pictures of a job are drawn from, for a program that looks again and again: each is read once in a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.domain.model import JobId
from orchestrator.domain.row_filter import RowFilter

if TYPE_CHECKING:
    from orchestrator.api.handle import JobHandle
    from orchestrator.api.row_pages import ListedRow
    from orchestrator.api.spread import Spread
    from orchestrator.domain.pictures import ChunkMap, Course, Durations, Report
    from orchestrator.domain.timeline import Batch
    from orchestrator.engine.workspace import Workspace

Value = TypeVar("Value")
MAP_S: Final = 10.0  # for so long all who look share one picture
COURSE_S: Final = 60.0
KEPT_MAX: Final = 200
EXAMPLE_S: Final = 2.0
SPREAD_S: Final = 2.0  # for so long files are read for it


@dataclass(slots=True)
class JobPictures:
    """Reads pictures of jobs; safe to use from many threads."""

    workspace: Workspace
    _kept: dict[Hashable, tuple[float, Any]] = field(default_factory=dict)
    _locks: dict[Hashable, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def chunk_map(self, job_id: JobId) -> ChunkMap:
        """Return the job's chunks in the order of its rows."""
        return self._recent(("map", job_id), MAP_S, lambda: self.workspace.views.chunk_map(job_id))

    def course(self, job_id: JobId) -> Course | None:
        """Return how the job went; None where nothing was sent."""
        views, clock = self.workspace.views, self.workspace.clock
        return self._recent(("course", job_id), COURSE_S, lambda: views.course(job_id, now=clock.now()))

    def durations(self, job_id: JobId) -> Durations | None:
        """Return how long batches took; None where there are none."""
        views, clock = self.workspace.views, self.workspace.clock
        return self._recent(("durations", job_id), COURSE_S, lambda: views.durations(job_id, now=clock.now()))

    def report(self, job_id: JobId) -> Report:
        """Return what the job used."""
        return self._recent(("report", job_id), COURSE_S, lambda: self.workspace.views.report(job_id))

    def output(self, job_id: JobId) -> str:
        """Return where the job's output is, or will be."""
        from orchestrator.api.result import revision_path

        return revision_path(self.workspace.context(job_id).output_folder, self.workspace.ledger.job(job_id))

    def download(self, handle: JobHandle, form: str, kind: str | None) -> Iterator[bytes]:
        """Yield the job's output, or what is answered so far, as a file, piece by piece; `kind` is of its rows."""
        from orchestrator.api.export import Wanted, opened_rows, streamed_rows

        opened = opened_rows(handle.work, handle.job_id, Wanted(kind=kind, partial=True), handle.results)
        return streamed_rows(form, opened)

    def chunks_of_square(self, job_id: JobId, first: str, last: str) -> list[Batch]:
        """Return some chunks of a square of the map."""
        return self.workspace.views.chunks_of_square(job_id, first, last)

    def example(self, job_id: JobId, wanted: RowFilter) -> ListedRow | None:
        """Return a row of a kind, the first one that is found in a short time. It reads files."""
        from orchestrator.api.row_pages import row_page

        def found() -> ListedRow | None:
            until = time.monotonic() + EXAMPLE_S
            page = row_page(self.workspace, job_id, wanted, start=(0, 0), limit=1, until=until)
            return page.rows[0] if page.rows else None

        return self._recent((job_id, wanted), COURSE_S, found)

    def spread(self, job_id: JobId) -> Spread:
        """Return how the job's answers are spread, and the dearest of them. It reads files."""
        from orchestrator.api.spread import spread_of

        until = time.monotonic() + SPREAD_S
        return self._recent(("spread", job_id), COURSE_S, lambda: spread_of(self.workspace, job_id, until=until))

    def _recent(self, key: Hashable, keep_s: float, make: Callable[[], Value]) -> Value:
        """Return what was made a short while ago, or make it: one thread does, the others wait for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            known = self._kept.get(key)
            if known is None or known[0] < time.monotonic():
                known = time.monotonic() + keep_s, make()
                with self._lock:
                    self._kept[key] = known
                    while len(self._kept) > KEPT_MAX:
                        oldest = next(iter(self._kept))
                        del self._kept[oldest]
                        self._locks.pop(oldest, None)
            value: Value = known[1]
            return value
