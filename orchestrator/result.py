"""What a job gave: its output as a table, and its books."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.collector.finish import revision_folder
from orchestrator.collector.join import OutputOptions
from orchestrator.domain.errors import OutputError
from orchestrator.domain.model import Job, JobState
from orchestrator.domain.review import Totals

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as pads


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a job stands."""

    job_id: str
    state: JobState
    reason: str  # why it is stopped
    totals: Totals
    pause_reason: str = ""  # why its account may not send at present

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
            "dead": totals.dead + totals.refused,
            "waiting_for_retry": totals.waiting,
            "in_flight": totals.in_flight_rows,
            "in_flight_answered": totals.in_flight_done,
            "chunks": {state.value: count for state, count in sorted(totals.chunks.items())},
            "held_chunks": totals.held_chunks,
            "batches": totals.batches,
            "lines": totals.lines,
            "missing": totals.missing,
            "duplicates": totals.duplicates,
            "foreign": totals.foreign,
            "unreadable": totals.unreadable,
            "cost_usd": str(totals.cost_usd),
            "reserved_usd": str(totals.reserved_usd),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished job's output, on disk."""

    status: Status
    path: Path
    options: OutputOptions

    @property
    def job_id(self) -> str:
        """The job."""
        return self.status.job_id

    @property
    def counts(self) -> dict[str, int]:
        """`rows`, `succeeded`, `dead`: rows = succeeded + dead."""
        totals = self.status.totals
        return {"rows": totals.rows, "succeeded": totals.succeeded, "dead": totals.dead + totals.refused}

    @property
    def cost_usd(self) -> Decimal:
        """What the job's batches cost, as far as the provider or a price has told."""
        return self.status.totals.cost_usd

    def to_arrow(self) -> pa.Table:
        """Return the whole output, in source order."""
        return self._dataset().to_table()

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole output, in source order."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def failures(self) -> pa.Table:
        """Return the rows that are dead, with their errors, in source order."""
        status = f"{self.options.prefix}status"
        return self._dataset().to_table(filter=pc.field(status) == "dead")

    def errors(self) -> Counter[str]:
        """Return how many rows are dead of which error code."""
        column = f"{self.options.prefix}error_code"
        status = f"{self.options.prefix}status"
        found = self._dataset().to_table(columns=[column], filter=pc.field(status) == "dead")
        return Counter(code or "unknown" for code in found[column].to_pylist())

    def _dataset(self) -> pads.Dataset:
        import pyarrow.dataset as pads  # it imports pandas: a second, and 50 MB that a worker can do without

        if not (self.path / "_SUCCESS").exists():
            raise OutputError(f"{self.path} holds no finished output")
        parts = sorted(str(path) for path in self.path.glob("part-*.parquet"))
        return pads.dataset(parts, format="parquet")


def revision_path(root: Path, job: Job) -> Path:
    """Return the folder of the job's latest output revision."""
    return root.with_name(revision_folder(root.name, job.revision))
