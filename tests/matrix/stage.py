"""Where a cell of the matrix plays: a job of one chunk, its ledger, and a provider whose endpoint has a fault.

Rule: everything is real but the clock: the ledger, the steps, the adapter, the HTTP client, the socket.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.batches.cancel import cancel
from orchestrator.batches.poll import poll
from orchestrator.batches.recover import recover
from orchestrator.batches.submit import submit
from orchestrator.collector.collect import collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain import custom_id
from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.errors import CreateRefused, OrchestratorError
from orchestrator.domain.model import AttemptState, Chunk, ChunkState, Job, Step
from orchestrator.job_files.request_files import LinesDraft
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.schema import chunks
from orchestrator.ledger.steps import SqlLedger
from orchestrator.ports import Provider
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.onerouter.dialect import READER
from tests.builders import JOB, a_chunk, a_job, added, an_attempt, emptied
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles
from tests.matrix.dialects import DIGEST, ROW_COUNT, Dialect, Endpoint
from tests.matrix.faults import Fault, Way
from tests.matrix.server import Cell, MatrixServer

KEY: Final = "sk-canary-9f86d081884c7d65"
PATIENT: Final = Timeouts(connect_s=30, read_s=30, write_s=30, call_s=30, create_s=30, upload_s=30, download_s=30)
HURRY_S: Final = 0.4
HURRIED: Final = replace(PATIENT, call_s=HURRY_S, create_s=HURRY_S, upload_s=HURRY_S, download_s=HURRY_S)
LEASE_S: Final = 60.0
STEPS: Final = {Step.SUBMIT: submit, Step.POLL: poll, Step.CANCEL: cancel, Step.COLLECT: collect, Step.RECOVER: recover}


class StillClock(VirtualClock):
    """Moves when told to, and draws the shortest wait there is."""

    def draw(self) -> float:
        return 0.0


class Overheard:
    """A provider, and the kind of error that its last call ended with."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self.heard = ""

    @property
    def files(self) -> Any:
        """Input files, overheard as well."""
        return None if self._inner.files is None else self

    @property
    def batch_list(self) -> Any:
        """The list of batches, overheard as well."""
        return None if self._inner.batch_list is None else self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not callable(method) or name == "state":  # asked only after a create was refused: it hides no error
            return method

        def call(*args: Any, **named: Any) -> Any:
            self.heard = "none"
            with self._listening():
                found = method(*args, **named)
                return self._files(found) if name == "results" else found

        return call

    def _files(self, files: Iterator[Any]) -> Iterator[Any]:
        with self._listening():
            for file in files:
                yield replace(file, blocks=self._blocks(file.blocks))

    def _blocks(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        with self._listening():
            yield from blocks

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except OrchestratorError as error:
            self.heard = type(error.error if isinstance(error, CreateRefused) else error).__name__
            raise


class Stage:
    """A job of one chunk, its ledger and its provider."""

    def __init__(self, database: Database, server: MatrixServer, context: Any) -> None:
        self._server = server
        self._context = context
        emptied(database)
        self.database = database
        self.ledger, self.admin = SqlLedger(database), SqlAdmin(database)
        self.clock = StillClock(random.Random(0))
        self.job_files = MemoryJobFiles()
        self.chunk_id = self._open()

    def _open(self) -> Any:
        draft = LinesDraft()
        for row in range(ROW_COUNT):
            name_of_row = custom_id.custom_id(DIGEST, 0, row).encode()
            draft.add(b'{"custom_id":"%s","params":{"x":1}}\n' % name_of_row, (0, row), b"%016d" % row)
        file = draft.write(self.job_files, "c00000-00000")
        chunk = a_chunk(
            row_end=ROW_COUNT,
            request_count=ROW_COUNT,
            request_bytes=file.size_bytes,
            requests=file.name,
            cost_usd_max=Decimal("0.01"),
        )
        now = self.clock.now()
        self.admin.open(a_job(), 1, now=now)
        (claim,) = self.ledger.claim((Step.REVIEW,), limit=1, now=now, lease_s=LEASE_S)
        self.ledger.record(claim, added(chunk, due_at=now), now=now)
        return chunk.id

    @property
    def chunk(self) -> Chunk:
        return self.ledger.chunk(self.chunk_id)

    @property
    def job(self) -> Job:
        return self.ledger.job(JOB)

    @property
    def wait_s(self) -> float:
        """How long until the chunk is looked at again."""
        with self.database.read() as connection:
            due_at = connection.execute(sa.select(chunks.c.due_at).where(chunks.c.id == self.chunk_id)).scalar_one()
        return float((due_at - self.clock.now()).total_seconds())

    def let_pass(self) -> None:
        """Let time pass until the chunk is due."""
        self.clock.advance(max(0.0, self.wait_s) + 0.001)

    def run(self, step: Step, provider: Any) -> None:
        """Run one step of the chunk, which must be due."""
        (claim,) = self.ledger.claim((step,), limit=1, now=self.clock.now(), lease_s=LEASE_S)
        assert claim.unit.chunk_id == self.chunk_id
        tools: dict[str, Any] = {"ledger": self.ledger, "provider": provider, "clock": self.clock}
        if step is Step.COLLECT:
            tools |= {
                "job_files": self.job_files,
                "collecting": Collecting(job_digest=DIGEST, price=None, read_line=READER),
            }
        elif step in (Step.SUBMIT, Step.RECOVER, Step.POLL):
            tools |= {"job_files": self.job_files}
        STEPS[step](claim, **tools)

    def is_due(self, step: Step) -> bool:
        return step in self.ledger.due(now=self.clock.now())

    def has_created_before(self) -> None:
        """Let another chunk of the job have had a batch."""
        now = self.clock.now()
        other = a_chunk("c00000-00001", state=ChunkState.SUBMITTED)
        earlier = an_attempt("earlier", other, state=AttemptState.CREATED, batch_id=other.batch_id)
        opened = AttemptOpened(attempt=earlier, budget_usd=None)
        (claim,) = self.ledger.claim((Step.REVIEW,), limit=1, now=now, lease_s=LEASE_S)
        self.ledger.record(claim, added(other, due_at=now + timedelta(days=9)), opened, now=now)

    @contextmanager
    def facing(
        self, dialect: Dialect, endpoint: Endpoint, fault: Fault | None, *, read: Sequence[str] = ()
    ) -> Iterator[tuple[Overheard, Cell]]:
        """A provider whose endpoint has this fault; None: no fault.

        Args:
            read: what the server has read before.
        """
        server = self._server
        way = Way.SERVER if fault is None else fault.way
        answers = endpoint.answers(led(server.other_url, way, server) if endpoint.elsewhere else server.other_url)
        cell = Cell(answers=answers, target=endpoint.target, read=list(read))
        if fault is not None:
            cell.play, cell.before_reading, cell.closes = fault.play, fault.before_reading, fault.closes
            cell.context = self._context if fault.certificate else None
        server.stage(cell)
        http = HttpClient(
            f"{server.url if endpoint.elsewhere else led(server.url, way, server)}/v1",
            Secret(KEY),
            timeouts=HURRIED if fault is not None and fault.hurried else PATIENT,
        )
        try:
            yield Overheard(dialect.make(http)), cell
        finally:
            cell.over.set()
            http.close()


def led(url: str, way: Way, server: MatrixServer) -> str:
    """Return where a fault of the way leads whoever wants `url`."""
    return {Way.SERVER: url, Way.NOBODY: server.refused_url, Way.TLS: url.replace("http:", "https:")}[way]
