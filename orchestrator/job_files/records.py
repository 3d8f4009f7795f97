"""The records of a job in its folder: small files, written once, from which a lost ledger can be rebuilt.

Rule 1: a record is in place before the ledger has its content (an intent comes after: see `create_journal`).
Rule 2: a record holds ids, counts, times and amounts; no row, no answer, no secret.
Rule 3: if two tries of one step may differ, the file's name holds a digest of its content.
Rule 4: records are read by `codec`: a field that another version added is ignored.

    commands/<time>-<random>.json          a person's command; the last one counts
    plans/s00000/00000.<digest>.json       a slice of a shard: its rows, its chunks
    plans/retries/00001.<digest>.json      retry chunks, and the chunks that their rows came from
    plans/splits/<chunk>.json              the two halves of a chunk that was too large
    copied/<chunk>/00001.json              a chunk that was never sent, with what equal requests came to, by revision
    given_up/<chunk>.json                  a chunk that the provider does not accept, and why
    collected/<name of the part>.json      the results of a batch, and the digests of its files
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeVar

import xxhash

from orchestrator import codec
from orchestrator.domain.model import AttemptToken, BatchId, Canary, Chunk, ChunkId, ChunkState, JobId, Outcome, Tally

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from orchestrator.ports import JobFiles

    Record = TypeVar("Record", bound=DataclassInstance)

COMMANDS: Final = "commands"
RETRIES: Final = "plans/retries"
SPLITS: Final = "plans/splits"
COLLECTED: Final = "collected"
GIVEN_UP: Final = "given_up"
COPIED: Final = "copied"
_TIME: Final = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChunk:
    """A chunk as it was planned, and its number of rows by shard."""

    name: str
    shard_no: int | None = None
    row_start: int = 0
    row_end: int = 0
    request_count: int
    request_bytes: int
    requests: str
    round: int = 1
    revision: int = 1
    tokens_in: int = 0
    cost_usd_max: Decimal | None = None
    is_canary: bool = False
    improves: str = ""
    improves_reused: bool = False
    amends: str = ""
    changes: str = ""
    setbacks: int = 0  # of the chunks that its rows are from
    part: str = ""  # of a chunk that was never sent: the answers to its requests
    tally: Tally = field(default_factory=Tally)  # the same
    causes: str = ""  # the same, of its failed rows
    rows_by_shard: Mapping[int, int]

    @classmethod
    def of(cls, chunk: Chunk, rows_by_shard: Mapping[int, int]) -> PlannedChunk:
        """Return the record of a chunk that has just been planned."""
        return cls(**{name: getattr(chunk, name) for name in _PLANNED}, rows_by_shard=rows_by_shard)

    def chunk(self, job_id: JobId) -> Chunk:
        """Return the chunk of this job, before it was sent."""
        values = {name: getattr(self, name) for name in _PLANNED if name != "name"}
        never_sent = ChunkState.REUSED if self.part else ChunkState.DUPLICATE
        state = ChunkState.PLANNED if self.round else never_sent
        return Chunk(id=ChunkId(f"{job_id}/{self.name}"), job_id=job_id, state=state, **values)


_PLANNED: Final = tuple(f.name for f in fields(PlannedChunk) if f.name != "rows_by_shard")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePlan:
    """A slice of a shard, planned."""

    shard_no: int
    slice_no: int
    row_start: int
    row_end: int
    refused_count: int
    causes: str = ""  # of all refused rows of the shard up to here: see `domain.causes`
    last: bool  # of its shard
    chunks: tuple[PlannedChunk, ...]
    digests: Mapping[str, str] = field(default_factory=dict)  # of the columns that the requests were made from


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """Retry chunks that were made in one step, from the waiting rows of these chunks."""

    chunks: tuple[PlannedChunk, ...]
    sources: Mapping[str, int]  # a chunk's name: how many of its rows
    regather: str = ""  # the kind of these rows, where a person asked to send them again
    selection: str = ""  # the name of the selection that they were chosen in, where they were chosen one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """A chunk, and the two chunks that have its requests now."""

    chunk: str
    chunks: tuple[PlannedChunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A chunk that the provider does not accept: why its rows have failed."""

    chunk: str
    attempt: int
    error_code: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The results of a batch, and the digests of its files, as they are stored."""

    chunk: str
    attempt: int
    token: AttemptToken
    batch_id: BatchId
    outcome: Outcome
    fees_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    round: int = 1  # of the chunk, afterwards
    setbacks: int = 0  # the same
    part: str
    part_digest: str
    raw: Mapping[str, str] = field(default_factory=dict)  # a file's name: its digest
    tally: Tally
    settled: Mapping[int, int] = field(default_factory=dict)  # by shard: rows that succeeded or failed permanently
    failed: Mapping[int, int] = field(default_factory=dict)
    causes: str = ""  # of those: see `domain.causes`
    collected_at: datetime | None = None  # None: an earlier version did not record it
    ended_at: datetime | None = None  # the batch; the same
    rereads: int = 0  # how often the raw results were read again, and more of them could be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A person's command, with the job's state in the ledger at that time."""

    spec: str
    policy: str  # JSON, as in the ledger
    rounds_max: int
    revision: int
    shard_count: int
    retrying: str = ""  # the kind of rows that this revision sends again
    changes: str = ""  # of their requests
    is_cancelled: bool = False
    canary: Canary = Canary.NONE
    approved: str = ""
    paused_at: datetime | None = None


def keep_slice(job_files: JobFiles, plan: SlicePlan) -> None:
    """Put the record of a slice in place."""
    _put_by_content(job_files, f"{slices_folder(plan.shard_no)}/{plan.slice_no:05d}", plan)


def keep_retry(job_files: JobFiles, number: int, plan: RetryPlan) -> None:
    """Put the record of retry chunks in place; `number` is that of the first of them."""
    _put_by_content(job_files, f"{RETRIES}/{number:05d}", plan)


def keep_split(job_files: JobFiles, plan: SplitPlan) -> None:
    """Put the record of a chunk's halves in place."""
    _put(job_files, f"{SPLITS}/{plan.chunk}.json", codec.encode(plan))


def keep_collected(job_files: JobFiles, collected: Collected) -> None:
    """Put the record of a batch's results in place."""
    _put(job_files, collected_name(collected.part), codec.encode(collected))


def keep_copied(job_files: JobFiles, revision: int, chunk: PlannedChunk) -> None:
    """Put the record of a chunk in place that has got what equal requests came to."""
    _put(job_files, f"{COPIED}/{chunk.name}/{revision:05d}.json", codec.encode(chunk))


def read_copied(job_files: JobFiles, chunk: str) -> tuple[int, PlannedChunk] | None:
    """Read what a chunk of duplicates has got last, and in which revision; None where it has nothing yet.

    Raises StorageError.
    """
    names = sorted(job_files.names(f"{COPIED}/{chunk}"))
    if not names:
        return None
    return int(names[-1].rpartition("/")[2].removesuffix(".json")), read(job_files, names[-1], PlannedChunk)


def keep_given_up(job_files: JobFiles, chunk: Chunk) -> None:
    """Record that a chunk has failed, and why."""
    given_up = GivenUp(chunk=chunk.name, attempt=chunk.attempt, error_code=chunk.error_code, error=chunk.error)
    _put(job_files, f"{GIVEN_UP}/{chunk.name}.json", codec.encode(given_up))


def record_command(job_files: JobFiles, command: Command, *, at: datetime, mark: str) -> None:
    """Record a command, unless it equals the last one."""
    names = job_files.names(COMMANDS)
    if names and read_command(job_files, names[-1]) == command:
        return
    _put(job_files, f"{COMMANDS}/{at.astimezone(UTC):{_TIME}}-{mark[:8]}.json", codec.encode(command))


def slices_folder(shard_no: int) -> str:
    """Return the folder of the records of a shard's slices."""
    return f"plans/s{shard_no:05d}"


def collected_name(part: str) -> str:
    """Return the name of the record of a part."""
    return f"{COLLECTED}/{part.rpartition('/')[2].removesuffix('.parquet')}.json"


def is_reread(part: str) -> bool:
    """Return whether a part was written when raw results were read again."""
    return part.removesuffix(".parquet").rpartition(".")[2].startswith("r")


def read_slices(job_files: JobFiles, shard_no: int) -> Iterator[SlicePlan]:
    """Read the slices of a shard, in order; a slice that was planned twice comes twice."""
    return _read_all(job_files, slices_folder(shard_no), SlicePlan)


def read_retries(job_files: JobFiles) -> Iterator[RetryPlan]:
    """Read the records of retry chunks, in order; a chunk that was gathered twice comes twice."""
    return _read_all(job_files, RETRIES, RetryPlan)


def read_splits(job_files: JobFiles) -> Iterator[SplitPlan]:
    """Read the records of chunks that were cut in two."""
    return _read_all(job_files, SPLITS, SplitPlan)


def read_given_up(job_files: JobFiles, chunk: str) -> GivenUp | None:
    """Read why a chunk has failed; None where it has not. Raises StorageError."""
    name = f"{GIVEN_UP}/{chunk}.json"
    return read(job_files, name, GivenUp) if job_files.exists(name) else None


def read_collected(job_files: JobFiles, name: str) -> Collected:
    """Read the results of a batch. Raises StorageError."""
    return read(job_files, name, Collected)


def read_command(job_files: JobFiles, name: str) -> Command:
    """Read a command. Raises StorageError."""
    return read(job_files, name, Command)


def command_time(name: str) -> datetime | None:
    """Return when a command was given, by the name of its record; None where the name does not tell."""
    try:
        return datetime.strptime(name.rpartition("/")[2].partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def read(job_files: JobFiles, name: str, kind: type[Record]) -> Record:
    """Read a record of this kind. Raises StorageError where it is damaged."""
    with job_files.open(name) as file:
        return codec.decode(file.read(), kind, name=name)


def _read_all(job_files: JobFiles, folder: str, kind: type[Record]) -> Iterator[Record]:
    for name in job_files.names(folder):
        yield read(job_files, name, kind)


def _put_by_content(job_files: JobFiles, stem: str, record: DataclassInstance) -> None:
    text = codec.encode(record)
    _put(job_files, f"{stem}.{xxhash.xxh3_64_hexdigest(text)}.json", text)


def _put(job_files: JobFiles, name: str, text: bytes) -> None:
    with job_files.create(name) as file:
        file.write(text)
