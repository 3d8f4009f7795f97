"""What the steps and those who run them need of the world. A port is as wide as its one idea.

The adapters are in `ledger`, `providers` and `storage`; `engine` alone knows which of them stands behind a port.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.domain.batch import BatchStatus, Listed, ResultFile, Submission, Traits
    from orchestrator.domain.changes import Change
    from orchestrator.domain.dataset import ShardSpec
    from orchestrator.domain.model import BatchId, Chunk, ChunkId, Claim, FileId, Job, JobId, Shard, Step
    from orchestrator.domain.progress import Outlook, Totals
    from orchestrator.domain.results_at import ResultsAt


class Clock(Protocol):
    """The time, and chance: the two things that a test must be able to choose."""

    def now(self) -> datetime:
        """Return the time, aware, UTC."""
        ...

    def draw(self) -> float:
        """Return a uniform number in [0, 1)."""
        ...

    def token(self) -> str:
        """Return 32 random hexadecimal digits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What a chunk gives to a shard's output: a part to read, or a range of rows it left without an answer."""

    chunk: Chunk
    rows: int  # of this shard


class Checkpoint(Protocol):
    """What a long step calls between two rows, batches or blocks."""

    def __call__(self) -> None:
        """Return at once while the step may go on.

        Raises:
            Interrupted: the process was told to stop.
            LeaseLost: somebody else has the unit by now, so that going on is in vain.
        """
        ...


def never_interrupted() -> None:
    """Be the checkpoint of a step that nobody stops."""


class Ledger(Protocol):
    """The durable record of jobs: claims, reads and writes of units, sums and lists over a job's units.

    A read gives the present version of a unit; `record` refuses what was decided on an older one.
    """

    def due(self, *, now: datetime, job_id: JobId | None = None) -> frozenset[Step]:
        """Return the kinds of steps of which at least one is due; whether its account has room is not asked.

        Most looks find nothing: this one is cheap, and keeps nobody from writing.

        Args:
            job_id: of this job only; None: of any.
        """
        ...

    def claim(
        self, steps: Collection[Step], *, limit: int, now: datetime, lease_s: float, job_id: JobId | None = None
    ) -> list[Claim]:
        """Hand out up to `limit` due steps of these kinds; each unit is the caller's for `lease_s` seconds.

        Args:
            job_id: of this job only; None: of any.
        """
        ...

    def renew(self, leases: Mapping[Claim, datetime]) -> frozenset[Claim]:
        """Extend each claim's lease to the time given, in one transaction; a lease is never shortened.

        Returns the claims that still stand. The others were handed out again, or let go of.
        """
        ...

    def record(self, claim: Claim, *changes: Change, now: datetime, keep: bool = False) -> None:
        """Write all changes in one transaction, and let go of the claim unless `keep`.

        Raises:
            LeaseLost: the unit was handed out again, or a version is stale; nothing was written.
            BudgetExhausted: an AttemptOpened does not fit the budget; nothing was written.
        """
        ...

    def job(self, job_id: JobId) -> Job:
        """Return the job. Raises LedgerError where there is none."""
        ...

    def shard(self, job_id: JobId, shard_no: int) -> Shard:
        """Return the shard."""
        ...

    def chunk(self, chunk_id: ChunkId) -> Chunk:
        """Return the chunk."""
        ...

    def totals(self, job_id: JobId) -> Totals:
        """Return the job in numbers: reads all of its chunks."""
        ...

    def outlook(self, job_id: JobId) -> Outlook:
        """Return what the job's next step hangs on: reads few rows, however many chunks there are."""
        ...

    def backlog(self, job_id: JobId) -> int:
        """Return how many chunks are planned and not yet sent."""
        ...

    def ever_created(self, job_id: JobId) -> bool:
        """Say whether the provider ever accepted a batch of this job."""
        ...

    def contributions(self, job_id: JobId, shard_no: int) -> list[Contribution]:
        """Return the ended chunks with rows of this shard, in the order of their rounds and rows."""
        ...

    def waiting(self, job_id: JobId, *, limit: int) -> list[Chunk]:
        """Return ended chunks with rows to be sent again, the lowest round first, then in order of their names."""
        ...

    def shards(self, job_id: JobId) -> list[Shard]:
        """Return all shards, in order."""
        ...


class HasFiles(Protocol):
    """A provider that makes batches from uploaded files."""

    def upload(self, submission: Submission) -> FileId:
        """Store the requests as an input file whose name bears the token. Raises ProviderError."""
        ...

    def delete(self, file_id: FileId) -> None:
        """Delete a file; deleting it again is no error. Raises ProviderError.

        A create that is still on its way from a deleted input file fails.
        """
        ...


class HasList(Protocol):
    """A provider that lists its batches. `status` may answer from the list, too: that is the provider's own affair."""

    def find(
        self, submission_token: str, since: datetime, file_id: FileId | None = None, *, is_other_key: bool = False
    ) -> Sequence[Listed] | None:
        """List batches of this attempt, oldest first. Raises ProviderError.

        None, and only where `is_other_key`: nothing was found, and nothing shows that this key sees the batches of the
        attempt's own key. That proves nothing: the list of another account has none of our batches.

        Args:
            submission_token: the mark that the create put on its batch.
            since: older batches need not be looked at.
            file_id: the attempt's input file: a second mark, where a provider drops the first.
            is_other_key: the attempt was sent with another key. Only what the provider says now can show that both
                are of one account: a batch that bears the token, or the attempt's own input file.
        """
        ...


class Provider(Protocol):
    """One account at one provider. Every method is one exchange; none repeats a call by itself.

    What only some providers can do is an attribute, None where they cannot: a step asks for the capability.
    """

    @property
    def traits(self) -> Traits:
        """What the provider is like."""
        ...

    @property
    def files(self) -> HasFiles | None:
        """Input files; None where requests travel in the create itself."""
        ...

    @property
    def batch_list(self) -> HasList | None:
        """The list of batches; None where there is none."""
        ...

    def create(self, submission: Submission) -> BatchId:
        """Send the one POST of this attempt.

        Raises:
            CreateRefused: nothing was created, and that is certain.
            CreateAmbiguous: anything else. Whatever is not known to be a refusal is this.
        """
        ...

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Ask how a batch stands, without reading its results. Raises ProviderError."""
        ...

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """Stream the results that `status` announced. Raises ProviderError, also while streaming."""
        ...

    def cancel(self, batch_id: BatchId) -> None:
        """Ask for the batch to be stopped; stopping one that has ended is no error. Raises ProviderError."""
        ...


class JobFiles(Protocol):
    """A job's files. Names are relative, with forward slashes. A file in place is whole, and never changes."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing; it appears under `name` when the block ends without an exception.

        Where a file of that name is in place already, that one stays and what was written is dropped: whoever writes
        a name writes the same content. Raises StorageError.
        """
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file in place for reading. Raises StorageError where there is none."""
        ...

    def exists(self, name: str) -> bool:
        """Say whether a file is in place."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in place directly in `folder`, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        ...


class Source(Protocol):
    """The dataset of a job, cut into shards."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells this dataset from another: its files, their sizes and layout."""
        ...

    @property
    def shards(self) -> tuple[ShardSpec, ...]:
        """The shards, in order."""
        ...

    def batches(
        self, shard: ShardSpec, *, columns: Sequence[str] | None = None, row_start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Read a shard's rows from `row_start` on, in order, a few thousand at a time. Raises DatasetError."""
        ...
