"""What the work folder says of itself: small files, written once, from which a lost ledger can be made again.

Rule 1: a record stands in the folder before the ledger has what it says. Only an intent comes right after the
        ledger's, and before the POST: an intent that the ledger does not know is a create that it has forgotten.
Rule 2: ids, counts, times and amounts; no row, no answer, no secret.
Rule 3: where two tries at one thing may differ, the name bears a digest of the content.

    orders/<time>-<random>.json            what a person asked of the job; the last one holds
    plans/s00000/00000.<digest>.json       a slice of a shard: its rows, its chunks
    plans/retries/00001.<digest>.json      retry chunks, and whose rows they took
    plans/splits/<chunk>.json              the halves of a chunk that was too large
    intents/<token>.json                   a create that may have been sent; gone once it is known to have made nothing
    given_up/<chunk>.json                  a chunk that the provider will not take, and why
    collected/<name of the part>.json      what a batch gave, and the digests of the files that hold it
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import xxhash

from orchestrator.domain.errors import StorageError
from orchestrator.domain.model import AttemptToken, BatchId, Chunk, ChunkId, FileId, JobId, Outcome, Tally

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles

ORDERS: Final = "orders"
RETRIES: Final = "plans/retries"
SPLITS: Final = "plans/splits"
INTENTS: Final = "intents"
JOURNAL: Final = "journal"
COLLECTED: Final = "collected"
GIVEN_UP: Final = "given_up"
_LAID: Final = ("shard_no", "row_start", "row_end", "request_count", "request_bytes", "requests", "round", "tokens_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A chunk as it was planned, and how many of its rows lie in which shard."""

    chunk: Chunk
    rows_by_shard: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePlan:
    """A slice of a shard, planned."""

    shard_no: int
    slice_no: int
    row_start: int
    row_end: int
    refused_count: int
    last: bool  # of its shard
    laid: tuple[Laid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """Retry chunks that were made at once, from the waiting rows of these chunks."""

    laid: tuple[Laid, ...]
    sources: Mapping[str, int]  # a chunk's name: how many of its rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """A chunk, and the two that carry its requests now."""

    chunk: str
    laid: tuple[Laid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A create that may have been sent."""

    token: AttemptToken
    chunk: str
    attempt: int
    requests: str
    sent_at: datetime
    reserved_usd: Decimal
    file_id: FileId | None = None
    key_mark: str = ""  # of the credential it was begun with; "" in records of older versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a batch gave, and the digests of the files that hold it, as they are stored."""

    chunk: str
    attempt: int
    token: AttemptToken
    batch_id: BatchId
    outcome: Outcome
    fees_usd: Decimal | None
    cost_usd: Decimal | None
    part: str
    part_digest: str
    raw: Mapping[str, str] = field(default_factory=dict)  # a file's name: its digest
    tally: Tally
    settled: Mapping[int, int] = field(default_factory=dict)  # by shard: succeeded or dead
    failed: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person asked of the job, as the ledger had it then."""

    spec: str
    policy: str  # JSON, as in the ledger
    rounds_max: int
    revision: int
    shard_count: int
    is_cancelled: bool = False


def keep_slice(job_files: JobFiles, plan: SlicePlan) -> None:
    """Put the record of a slice in place."""
    laid = {"chunks": [_laid_text(one) for one in plan.laid]}
    facts = {name: getattr(plan, name) for name in ("shard_no", "slice_no", "row_start", "row_end", "refused_count")}
    _keep_named(job_files, f"{slices_folder(plan.shard_no)}/{plan.slice_no:05d}", facts | {"last": plan.last} | laid)


def keep_retry(job_files: JobFiles, number: int, plan: RetryPlan) -> None:
    """Put the record of retry chunks in place; `number` is that of the first of them."""
    content = {"chunks": [_laid_text(one) for one in plan.laid], "sources": dict(plan.sources)}
    _keep_named(job_files, f"{RETRIES}/{number:05d}", content)


def keep_split(job_files: JobFiles, plan: SplitPlan) -> None:
    """Put the record of a chunk's halves in place."""
    content = {"chunk": plan.chunk, "chunks": [_laid_text(one) for one in plan.laid]}
    _keep(job_files, f"{SPLITS}/{plan.chunk}.json", content)


def keep_intent(job_files: JobFiles, intent: Intent) -> None:
    """Say that a create may be sent from now on."""
    content = asdict(intent) | {"sent_at": intent.sent_at.isoformat(), "reserved_usd": str(intent.reserved_usd)}
    _keep(job_files, intent_name(intent.token), content)


def drop_intent(job_files: JobFiles, token: AttemptToken) -> None:
    """Say that a create is known to have made nothing."""
    job_files.remove(intent_name(token))


def keep_collected(job_files: JobFiles, collected: Collected) -> None:
    """Put the record of what a batch gave in place."""
    content = asdict(collected) | {
        "fees_usd": _amount(collected.fees_usd),
        "cost_usd": _amount(collected.cost_usd),
        "raw": dict(collected.raw),
        "settled": dict(collected.settled),
        "failed": dict(collected.failed),
    }
    _keep(job_files, collected_name(collected.part), content)


def record_command(job_files: JobFiles, order: Command, *, at: datetime, mark: str) -> None:
    """Put an order in place, unless it is what the last one said."""
    names = job_files.names(ORDERS)
    if names and read_command(job_files, names[-1]) == order:
        return
    _keep(job_files, f"{ORDERS}/{at:%Y%m%dT%H%M%S%f}-{mark[:8]}.json", asdict(order))


def keep_given_up(job_files: JobFiles, chunk: Chunk) -> None:
    """Say that a chunk is dead, and why."""
    content = {"chunk": chunk.name, "attempt": chunk.attempt, "error_code": chunk.error_code, "error": chunk.error}
    _keep(job_files, f"{GIVEN_UP}/{chunk.name}.json", content)


def read_given_up(job_files: JobFiles, chunk: str) -> tuple[str, str] | None:
    """Return the code and the words with which a chunk was given up; None where it was not."""
    name = f"{GIVEN_UP}/{chunk}.json"
    if not job_files.exists(name):
        return None
    found = _read(job_files, name)
    with _whole(name):
        return found["error_code"], found["error"]


def slices_folder(shard_no: int) -> str:
    """Return where the records of a shard's slices lie."""
    return f"plans/s{shard_no:05d}"


def intent_name(token: AttemptToken) -> str:
    """Return where an intent lies."""
    return f"{INTENTS}/{token}.json"


def collected_name(part: str) -> str:
    """Return where the record of a part lies."""
    return f"{COLLECTED}/{part.rpartition('/')[2].removesuffix('.parquet')}.json"


def token_of(name: str) -> AttemptToken:
    """Return the token in the name of an intent or of a journal file."""
    return AttemptToken(name.rpartition("/")[2].removesuffix(".json"))


def read_slices(job_files: JobFiles, job_id: JobId, shard_no: int) -> Iterator[SlicePlan]:
    """Read the slices of a shard, in order; one that was planned twice comes twice."""
    for name in job_files.names(slices_folder(shard_no)):
        found = _read(job_files, name)
        with _whole(name):
            facts = {key: found[key] for key in ("shard_no", "slice_no", "row_start", "row_end", "refused_count")}
            yield SlicePlan(**facts, last=found["last"], laid=_laid(job_id, found))


def read_retries(job_files: JobFiles, job_id: JobId) -> Iterator[RetryPlan]:
    """Read the records of retry chunks, in order; what was gathered twice comes twice."""
    for name in job_files.names(RETRIES):
        found = _read(job_files, name)
        with _whole(name):
            yield RetryPlan(laid=_laid(job_id, found), sources=found["sources"])


def read_splits(job_files: JobFiles, job_id: JobId) -> Iterator[SplitPlan]:
    """Read the records of chunks that were cut in two."""
    for name in job_files.names(SPLITS):
        found = _read(job_files, name)
        with _whole(name):
            yield SplitPlan(chunk=found["chunk"], laid=_laid(job_id, found))


def read_intent(job_files: JobFiles, name: str) -> Intent:
    """Read an intent. Raises StorageError."""
    found = _read(job_files, name)
    with _whole(name):
        known = {"sent_at": datetime.fromisoformat(found["sent_at"]), "reserved_usd": Decimal(found["reserved_usd"])}
        return Intent(**found | known)


def read_journal_file(job_files: JobFiles, name: str) -> tuple[AttemptToken, BatchId]:
    """Read whose create made which batch. Raises StorageError."""
    found = _read(job_files, name)
    with _whole(name):
        return AttemptToken(found["token"]), BatchId(found["batch_id"])


def read_collected(job_files: JobFiles, name: str) -> Collected:
    """Read what a batch gave. Raises StorageError."""
    found = _read(job_files, name)
    with _whole(name):
        known = {
            "outcome": Outcome(found["outcome"]),
            "fees_usd": _decimal(found["fees_usd"]),
            "cost_usd": _decimal(found["cost_usd"]),
            "tally": Tally(**found["tally"]),
            "settled": _by_shard(found["settled"]),
            "failed": _by_shard(found["failed"]),
        }
        return Collected(**found | known)


def read_command(job_files: JobFiles, name: str) -> Command:
    """Read an order. Raises StorageError."""
    found = _read(job_files, name)
    with _whole(name):
        return Command(**found)


def _keep_named(job_files: JobFiles, stem: str, content: Mapping[str, Any]) -> None:
    text = _text(content)
    _put(job_files, f"{stem}.{xxhash.xxh3_64_hexdigest(text)}.json", text)


def _keep(job_files: JobFiles, name: str, content: Mapping[str, Any]) -> None:
    _put(job_files, name, _text(content))


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _put(job_files: JobFiles, name: str, text: bytes) -> None:
    with job_files.create(name) as file:
        file.write(text)


def _read(job_files: JobFiles, name: str) -> dict[str, Any]:
    with job_files.open(name) as file, _whole(name):
        found = json.loads(file.read())
        return {**found}


@contextmanager
def _whole(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise StorageError(f"{name} is damaged: it is not what was written ({type(error).__name__})") from None


def _laid_text(one: Laid) -> dict[str, Any]:
    chunk = one.chunk
    facts = {name: getattr(chunk, name) for name in _LAID}
    return {"name": chunk.name, **facts, "cost_usd_max": _amount(chunk.cost_usd_max), "rows": dict(one.rows_by_shard)}


def _laid(job_id: JobId, found: Mapping[str, Any]) -> tuple[Laid, ...]:
    listed: Sequence[Mapping[str, Any]] = found["chunks"]
    return tuple(
        Laid(
            chunk=Chunk(
                id=ChunkId(f"{job_id}/{one['name']}"),
                job_id=job_id,
                cost_usd_max=_decimal(one["cost_usd_max"]),
                **{name: one[name] for name in _LAID},
            ),
            rows_by_shard=_by_shard(one["rows"]),
        )
        for one in listed
    )


def _by_shard(found: Mapping[str, int]) -> dict[int, int]:
    return {int(shard_no): int(count) for shard_no, count in found.items()}


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
