"""A stage for one step: a real ledger, files in memory, a provider that answers what the test says, a clock at rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import (
    Attempt,
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    Claim,
    FileId,
    Job,
    Step,
)
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import ResultsAt
from orchestrator.job_files.request_files import LinesDraft
from tests.builders import NOW, a_chunk, a_job, added, an_attempt
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.capabilities import Capabilities
from tests.fakes.job_files import MemoryJobFiles
from tests.simulation.context import an_empty_ledger

TOKEN: Final = AttemptToken("f00d")
BATCH: Final = BatchId("batch-1")
FILE: Final = FileId("file-1")
LINE: Final = b'{"custom_id":"9f86d081-0-%d","params":{}}\n'
STEP_OF: Final = {
    ChunkState.PLANNED: Step.SUBMIT,
    ChunkState.UPLOADED: Step.SUBMIT,
    ChunkState.SUBMITTING: Step.RECOVER,
    ChunkState.AMBIGUOUS: Step.RECOVER,
    ChunkState.UNRESOLVED: Step.RECOVER,
    ChunkState.SUBMITTED: Step.POLL,
    ChunkState.ENDED: Step.COLLECT,
    ChunkState.SPLITTING: Step.SPLIT,
}


class ClockAtRest:
    """A clock that stands where it is put; every draw is a half, tokens are numbered."""

    def __init__(self) -> None:
        self.at = NOW
        self._tokens = 0

    def now(self) -> datetime:
        """Return where it stands."""
        return self.at

    def draw(self) -> float:
        """Return a half."""
        return 0.5

    def token(self) -> str:
        """Return the next token."""
        self._tokens += 1
        return f"{self._tokens:032x}"


class ToldProvider(Capabilities):
    """Answers each call with what it was told to, in turn, and keeps what it was asked. An error is raised.

    A function that stands for an answer is called with what was asked, and its result is the answer.
    """

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.calls: list[tuple[Any, ...]] = []
        self.lost: list[LostCreate] = []  # what was searched for
        self._told: deque[Any] = deque()

    def tell(self, *answers: Any) -> None:
        """Say what the next calls are answered with."""
        self._told.extend(answers)

    def _answer(self, *asked: Any) -> Any:
        self.calls.append(asked)
        answer = self._told.popleft() if self._told else None
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(*asked[1:])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def upload(self, submission: Submission) -> FileId:
        """Take a file, whole."""
        found: FileId = self._answer("upload", submission, b"".join(submission.blocks()))
        return found

    def create(self, submission: Submission) -> BatchId:
        """Take a create."""
        found: BatchId = self._answer("create", submission)
        return found

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say how a batch stands."""
        found: BatchStatus = self._answer("status", batch_id)
        return found

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """Stream results."""
        found: Iterator[ResultFile] = self._answer("results", batch_id, where)
        return found

    def cancel(self, batch_id: BatchId) -> None:
        """Take a cancel."""
        self._answer("cancel", batch_id)

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """List batches; another key sees nothing, unless it is told to."""
        self.lost.append(lost)
        found: Sequence[Listed] | None = self._answer(
            "find", lost.token, lost.since, lost.file_id, *(["other key"] if lost.is_other_key else [])
        )
        return found if lost.is_other_key else found or []

    def delete(self, file_id: FileId) -> None:
        """Delete a file."""
        self._answer("delete", file_id)

    def state(self, file_id: FileId) -> InputState:
        """Say how a file stands; nothing, where it was not told to."""
        found: InputState = self._answer("state", file_id) or InputState.UNKNOWN
        return found


@dataclass
class Stage:
    """A job of one shard, and whatever chunk a test puts there."""

    traits: Traits = field(default_factory=lambda: Traits(name="told", recovery=Recovery.UNKNOWABLE))
    job: Job = field(default_factory=a_job)

    def __post_init__(self) -> None:
        self.harness = LedgerHarness(an_empty_ledger())
        self.clock, self.job_files, self.provider = ClockAtRest(), MemoryJobFiles(), ToldProvider(self.traits)
        self.harness.open(self.job)

    def put(self, state: ChunkState | str, *, attempts: int = 1, **fields: Any) -> Chunk:
        """Enter a chunk of two requests, with the file that holds them, and an open attempt where one has begun.

        With `cancel_requested` its job is cancelled first; `key_mark` is that of the key its create was begun with.
        """
        sent_with = fields.pop("key_mark", "")
        if fields.pop("cancel_requested", False):
            self.harness.admin.cancel(self.job.id, now=NOW)
        draft = LinesDraft()
        for number in range(2):
            draft.add(LINE % number, (0, number), b"%016d" % number)
        file = draft.write(self.job_files, "c00000-00000")
        begun = ChunkState(state) not in (ChunkState.PLANNED, ChunkState.UPLOADED)
        defaults: dict[str, Any] = {
            "requests": file.name,
            "row_end": 2,
            "request_count": 2,
            "request_bytes": file.size_bytes,
            "batch_id": BATCH if ChunkState(state) in (ChunkState.SUBMITTED, ChunkState.ENDED) else None,
            **({"token": TOKEN, "sent_at": NOW, "attempt": attempts} if begun else {}),
        }
        chunk = a_chunk(state=state, **(defaults | fields))
        opened = AttemptOpened(attempt=an_attempt(TOKEN, chunk, number=attempts, key_mark=sent_with), budget_usd=None)
        self.harness.write(added(chunk), *([opened] if begun else []))
        return self.harness.ledger.chunk(chunk.id)

    def claim(self, chunk: Chunk, step: Step | None = None) -> Claim:
        """Take the chunk; `step` where it is another than its state says."""
        [claim] = self.harness.claim(step or STEP_OF[chunk.state], now=self.clock.at)
        return claim

    def chunk(self, before: Chunk) -> Chunk:
        """Return the chunk as it stands now."""
        return self.harness.ledger.chunk(before.id)

    def due_s(self, chunk: Chunk) -> float | None:
        """Return when the chunk is due, in seconds after NOW; None: never by itself."""
        return self._time_s(chunk, "due_at")

    def leased_until_s(self, chunk: Chunk) -> float | None:
        """Return until when somebody has the chunk, in seconds after NOW."""
        return self._time_s(chunk, "lease_until")

    def _time_s(self, chunk: Chunk, column: str) -> float | None:
        with self.harness.database.read() as connection:
            found = connection.exec_driver_sql(f"select {column} from chunks where id = ?", (chunk.id,)).scalar_one()
        return None if found is None else round(found / 1e6 - NOW.timestamp(), 6)

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts there are."""
        return self.harness.admin.attempts(self.job.id)

    def paused_until_s(self) -> float | None:
        """Return for how long after NOW the account is paused; None where it is not."""
        with self.harness.database.read() as connection:
            found = connection.exec_driver_sql("select paused_until from accounts where paused_until > 0").scalar()
        return None if found is None else round(found / 1e6 - NOW.timestamp(), 6)

    def after(self, seconds: float) -> None:
        """Put the clock so many seconds after NOW."""
        self.clock.at = NOW + timedelta(seconds=seconds)


def an_accepted_batch(stage: Stage) -> None:
    """Let the job have a batch already: a 400 is about one chunk from then on."""
    other = a_chunk("c00000-00009", state="collected")
    stage.harness.write(added(other))
    attempt = an_attempt("earlier", other, state=AttemptState.CREATED, batch_id=other.batch_id)
    stage.harness.write(AttemptOpened(attempt=attempt, budget_usd=None))
