"""What a job gave: its output as a table, and its books."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.domain.errors import OutputError, StorageError
from orchestrator.domain.model import Job, JobState
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.progress import Totals
from orchestrator.storage.location import join, parent_and_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a job stands."""

    job_id: str
    state: JobState
    reason: str  # why it is stopped
    totals: Totals
    pause_reason: str = ""  # why its account may not send at present
    workers_alive: int = 0  # processes of a fleet at work on its ledger
    beats_alive: int = 0

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        totals = self.totals
        return {
            "job_id": self.job_id,
            "state": self.state.value,
            "reason": self.reason,
            "account_paused": self.pause_reason,
            "trouble": totals.trouble,
            "rows": totals.rows,
            "planning": totals.shards_planning > 0,
            "succeeded": totals.succeeded,
            "failed": totals.failed + totals.refused,
            "waiting_for_retry": totals.waiting,
            "in_flight": totals.in_flight_rows,
            "in_flight_answered": totals.in_flight_done,
            "chunks": {state.value: count for state, count in sorted(totals.chunks.items())},
            "unresolved_chunks": totals.unresolved_chunks,
            "overdue_batches": totals.overdue,
            "overdue_batch": totals.overdue_batch,
            "batches": totals.batches,
            "lines": totals.lines,
            "missing": totals.missing,
            "duplicates": totals.duplicates,
            "foreign": totals.foreign,
            "unreadable": totals.unreadable,
            "cost_usd": str(totals.cost_usd),
            "reserved_usd": str(totals.reserved_usd),
            "workers_alive": self.workers_alive,
            "beats_alive": self.beats_alive,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished job's output, in files."""

    status: Status
    path: str  # a folder, or the URL of one
    options: OutputOptions

    @property
    def job_id(self) -> str:
        """The job."""
        return self.status.job_id

    @property
    def counts(self) -> dict[str, int]:
        """`rows`, `succeeded`, `failed`: rows = succeeded + dead."""
        totals = self.status.totals
        return {"rows": totals.rows, "succeeded": totals.succeeded, "failed": totals.failed + totals.refused}

    @property
    def cost_usd(self) -> Decimal:
        """What the job's batches cost, as far as the provider or a price has told."""
        return self.status.totals.cost_usd

    def to_arrow(self) -> pa.Table:
        """Return the whole output, in source order."""
        return self._table()

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole output, in source order."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def failures(self) -> pa.Table:
        """Return the rows that are dead, with their errors, in source order."""
        return self._table(filter=self._is_failed())

    def errors(self) -> Counter[str]:
        """Return how many rows are dead of which error code."""
        column = f"{self.options.prefix}error_code"
        found = self._table(columns=[column], filter=self._is_failed())
        return Counter(code or "unknown" for code in found[column].to_pylist())

    def _is_failed(self) -> pc.Expression:
        import pyarrow.compute as pc

        return pc.field(f"{self.options.prefix}status") == "failed"

    def _table(self, **selection: Any) -> pa.Table:
        import pyarrow as pa
        import pyarrow.dataset as pads
        import pyarrow.fs as pafs

        from orchestrator.storage.arrow_fs import filesystem_of

        store, folder = filesystem_of(self.path)
        try:
            if store.get_file_info(f"{folder}/_SUCCESS").type != pafs.FileType.File:
                raise OutputError(f"{self.path} holds no finished output")
            entries = [entry for entry in store.get_file_info(pafs.FileSelector(folder)) if _is_part(entry.base_name)]
            parts = sorted(entry.path for entry in entries)
            return pads.dataset(parts, format="parquet", filesystem=store).to_table(**selection)
        except (pa.ArrowException, OSError) as error:
            # from None: in an object store the library's words may hold signed URLs.
            raise StorageError(f"{self.path} cannot be read ({type(error).__name__})") from None


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def revision_path(root: str, job: Job) -> str:
    """Return the location of the job's latest output revision."""
    from orchestrator.collector.finish import revision_folder

    parent, name = parent_and_name(root)
    return join(parent, revision_folder(name, job.revision))
