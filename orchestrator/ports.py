"""The ports: the interfaces through which steps and their runners reach the outside world.

The adapters are in `ledger`, `providers` and `storage`; only `engine` chooses an adapter for a port.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
    from orchestrator.domain.budget import Spending
    from orchestrator.domain.changes import Change
    from orchestrator.domain.dataset import ShardSpec
    from orchestrator.domain.input_file import InputState
    from orchestrator.domain.model import BatchId, Chunk, ChunkId, Claim, FileId, Job, JobId, Shard, Step
    from orchestrator.domain.progress import Outlook, Totals
    from orchestrator.domain.refusal import History
    from orchestrator.domain.results_at import ResultsAt


class Clock(Protocol):
    """Time and randomness, which a test must be able to choose."""

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
    """A chunk's contribution to a shard's output: a part to read, or a range of rows without an answer."""

    chunk: Chunk
    rows: int  # of this shard


class Checkpoint(Protocol):
    """A function that a long step calls between two rows, batches or blocks."""

    def __call__(self) -> None:
        """Return at once while the step may continue.

        Raises:
            Interrupted: the process was asked to stop.
            LeaseLost: another worker has claimed the unit, so the step's result would be refused.
        """
        ...


def never_interrupted() -> None:
    """The checkpoint of a step that cannot be stopped."""


class Ledger(Protocol):
    """The durable record of jobs: claims, reads and writes of units, sums and lists over a job's units.

    A read gives the present version of a unit; `record` refuses what was decided on an older one.
    """

    def due(self, *, now: datetime, job_id: JobId | None = None) -> frozenset[Step]:
        """Return the kinds of steps of which at least one is due; whether its account has room is not asked.

        Most calls find nothing, so this one is cheap and blocks no writer.

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

        Returns the claims that are still valid. The others were handed out again, or released.
        """
        ...

    def record(self, claim: Claim, *changes: Change, now: datetime, keep: bool = False) -> None:
        """Write all changes in one transaction, and release the claim unless `keep`.

        Raises:
            LeaseLost: the unit was handed out again, or a version is stale; nothing was written.
            BudgetExhausted: an AttemptOpened does not fit the budget; nothing was written.
        """
        ...

    def spending(self, chunk: Chunk, *, now: datetime) -> Spending:
        """Return what counts against the budget of the chunk's job, besides the chunk itself."""
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
        """Return what the job's next step depends on: reads few rows, however many chunks there are."""
        ...

    def backlog(self, job_id: JobId) -> int:
        """Return how many chunks are planned and not yet sent."""
        ...

    def may_send(self, job_id: JobId, *, now: datetime) -> bool:
        """Return whether the job is running and its account is not paused: both may have changed since a claim."""
        ...

    def history(self, chunk: Chunk) -> History:
        """Return what the chunk's job and account have seen so far."""
        ...

    def batches_since(self, sent_at: datetime) -> frozenset[BatchId]:
        """Return the batches of all jobs' creates that were sent at this time or later."""
        ...

    def contributions(self, job_id: JobId, shard_no: int) -> list[Contribution]:
        """Return the ended chunks with rows of this shard, in the order of their rounds and rows."""
        ...

    def planned(self, job_id: JobId, shard_no: int) -> list[Chunk]:
        """Return the chunks of a shard's own rows that are to be sent, or were, in order of their names."""
        ...

    def canary(self, job_id: JobId) -> list[Chunk]:
        """Return the chunks of the job's canary, in the order of their rounds and names."""
        ...

    def waiting(self, job_id: JobId, *, limit: int) -> list[Chunk]:
        """Return ended chunks with rows to be sent again, the lowest round first, then in order of their names."""
        ...

    def duplicates(self, job_id: JobId, *, limit: int) -> list[Chunk]:
        """Return chunks that wait for the answers to equal requests, in order of their names."""
        ...

    def shards(self, job_id: JobId) -> list[Shard]:
        """Return all shards, in order."""
        ...


class HasFiles(Protocol):
    """A provider that makes batches from uploaded files."""

    def upload(self, submission: Submission) -> FileId:
        """Store the requests as an input file whose name contains the token. Raises ProviderError."""
        ...

    def delete(self, file_id: FileId) -> None:
        """Delete a file; deleting it again is no error. Raises ProviderError.

        A create in flight fails once its input file is deleted.
        """
        ...

    def state(self, file_id: FileId) -> InputState:
        """Return what the provider says of a file; UNKNOWN where it cannot be asked. Raises no ProviderError."""
        ...


class HasList(Protocol):
    """A provider that lists its batches."""

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """List the batches of this create, oldest first. Raises ProviderError, also where a batch may be of this
        create and cannot be told from others yet: an empty list proves that there is none.

        None, only where `lost.is_other_key`: nothing was found, and nothing shows that this key sees the batches of the
        create's own key. That proves nothing: the list of another account has none of our batches. Only the provider
        can show that both keys belong to one account: by a batch with the token, or by the create's own input file.
        """
        ...

    def statuses(self) -> Iterator[Mapping[BatchId, BatchStatus]]:
        """Read the list, newest first, a page at each step: one call gives the statuses of many batches.

        It ends where no batch can still be running. Raises ProviderError, also while reading.
        """
        ...


class Provider(Protocol):
    """One account at one provider. Every method is one exchange; none repeats a call.

    A capability of some providers only is an attribute, None where it is missing.
    """

    @property
    def traits(self) -> Traits:
        """The provider's traits."""
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
            CreateRefused: nothing was created, for certain.
            CreateAmbiguous: any other failure.
        """
        ...

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Ask for the status of a batch, without reading its results. Raises ProviderError."""
        ...

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """Stream the results that `status` announced. Raises ProviderError, also while streaming."""
        ...

    def cancel(self, batch_id: BatchId) -> None:
        """Ask for the batch to be cancelled; cancelling an ended batch is no error. Raises ProviderError."""
        ...


class JobFiles(Protocol):
    """A job's files. Names are relative, with forward slashes. A file in place is complete and never changes."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing; it appears under `name` when the block ends without an exception.

        If a file of that name is already in place, it stays and the new content is dropped: all writers of a name write
        the same content. Raises StorageError.
        """
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file in place for reading. Raises StorageError where there is none."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether a file is in place."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in place directly in `folder`, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        ...

    def sweep(self, folder: str) -> None:
        """Remove what killed writers have left directly in `folder`; a writer that is at work there fails."""
        ...


class Source(Protocol):
    """The dataset of a job, cut into shards."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    @property
    def fingerprint(self) -> str:
        """The identity of this dataset: its files, their sizes and layout."""
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
