"""Whoever reaches the broker may send: the worst of ten thousand messages is a nudge (S3, S4)."""

from __future__ import annotations

import base64
import json
import pickle
import random
import sqlite3
import string
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import sleep as pause
from types import SimpleNamespace
from typing import Any, Final

import pytest

from orchestrator import settings
from orchestrator.domain.model import ChunkState, Claim, Step
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.fleet.app import ADVANCE, KEY_PREFIX, TICK
from orchestrator.fleet.process import FleetProcess, become
from orchestrator.fleet.tasks import advance
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.ledger.workers import SqlWorkers
from tests.builders import JOB, NOW, a_chunk
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import BEGINNING, VirtualClock
from tests.security.test_terminal import moves
from tests.servers.valkey import client_of
from tests.tiers import examples
from tests.workers.fleets import Fleet, a_fleet, until

COUNT: Final = 10_000
LIVE_COUNT: Final = 1_000  # of them through a broker to a worker: the rest of the way is the same for all
# And what is no message at all: Celery 5.7.0 ends its process over each, and the supervisor starts another.
TAKEN_S_MAX: Final = 400.0
RUBBISH_COUNT: Final = 3
SEED: Final = 20_261_122
EVIL: Final = "\x1b[2J\nstep.failed \u202e"
TASKS: Final = (
    ADVANCE,
    ADVANCE,
    ADVANCE,
    TICK,
    "celery.backend_cleanup",
    "os.system",
    "orchestrator.fleet.tasks.tick",
    EVIL,
)


class Trap:
    """Touches a file where somebody opens it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def anything(chance: random.Random, job_id: str, depth: int = 0) -> Any:
    """Return some JSON value; often one that a hint could hold."""
    near = [job_id, f"{job_id}/c00000-00000", f"{job_id}/c00000-00001", f"{job_id}/../x", *map(str, Step), EVIL, None]
    near += [0, 1, 2, 7, -1, 2**63, 2**70, 1.5, True, "' OR 1=1 --", "x" * chance.choice([1, 5_000])]
    if depth < 2 and chance.random() < 0.2:
        inner = [anything(chance, job_id, depth + 1) for _ in range(chance.randrange(6))]
        return inner if chance.random() < 0.5 else {str(number): value for number, value in enumerate(inner)}
    return chance.choice(near)


def arguments(chance: random.Random, job_id: str) -> list[Any]:
    """Return arguments: some of another shape, most of a hint's, with a token that nobody has been given."""
    if chance.random() < 0.4:
        return [anything(chance, job_id) for _ in range(chance.randrange(8))]
    units = [[None, f"{job_id}/c0000{chance.randrange(3)}-00000"], [chance.randrange(3), None], [None, None]]
    return [chance.choice(list(Step)).value, job_id, *chance.choice(units), chance.choice([1_000_000, 2**31, -5, 0])]


def message(chance: random.Random, job_id: str, trap: str) -> bytes:
    """Return what somebody might push: a pickle, another program's, half a body, a forged hint."""
    kind = chance.random()
    task, serializer = chance.choice(TASKS), "application/json"
    content = json.dumps([arguments(chance, job_id), {}, {}]).encode()
    if kind < 0.10:
        serializer, content = "application/x-python-serialize", pickle.dumps([[Trap(trap)], {}, {}])
    elif kind < 0.15:
        serializer, content = chance.choice(["application/x-yaml", "text/plain", "", EVIL]), chance.randbytes(50)
    elif kind < 0.20:
        content = json.dumps(anything(chance, job_id)).encode()
    elif kind < 0.25:
        content = json.dumps([[], {"step": EVIL}, {"callbacks": [{"task": "os.system"}], "chord": EVIL}]).encode()
    told: dict[str, Any] = {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "utf-8",
        "content-type": serializer,
        "headers": {"task": task, "id": str(uuid.UUID(int=chance.getrandbits(128))), "lang": "py", "retries": 0},
        "properties": {
            "delivery_tag": str(uuid.UUID(int=chance.getrandbits(128))),
            "delivery_info": {"exchange": "", "routing_key": "control"},
            "body_encoding": "base64",
            "delivery_mode": 2,
            "priority": 0,
        },
    }
    return json.dumps(told).encode()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with a_fleet(tmp_path, monkeypatch) as running:
        yield running


def rows_of(folder: Path) -> dict[str, list[Any]]:
    """Return the rows of the ledger that say what has been done and paid."""
    with sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True) as connection:
        tables = ("jobs", "chunks", "attempts", "events")
        return {table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))) for table in tables}


class Nowhere:
    """Queues that take everything and give nothing."""

    def lengths(self) -> dict[Any, int]:
        return {}

    def send(self, claims: Iterable[Claim]) -> None:
        list(claims)


def test_ten_thousand_messages_are_at_worst_a_nudge(tmp_path: Path) -> None:
    """The task itself, on a real ledger with work under way: not a row of it changes, and no step is run."""
    database = open_sqlite(tmp_path / "ledger.db")
    harness = LedgerHarness(database)
    harness.open(shards=3)
    harness.add(a_chunk(state=ChunkState.SUBMITTED), a_chunk("c00000-00001"))
    harness.claim(*Step)  # everything is in somebody's hands, with tokens that nobody else knows
    performed: list[Claim] = []
    clock = VirtualClock(random.Random(SEED))
    clock.advance((NOW - BEGINNING).total_seconds())
    workspace: Any = SimpleNamespace(
        ledger=harness.ledger,
        workers=SqlWorkers(database),
        clock=clock,
        perform=performed.append,
        give_back=performed.append,
    )
    queues: Any = Nowhere()
    heartbeat = Heartbeat(harness.ledger, clock, lease_s=120.0)
    become(FleetProcess(workspace=workspace, settings=settings.load({}), queues=queues, heartbeat=heartbeat))
    before, chance = rows_of(tmp_path), random.Random(SEED)

    for _ in range(examples(COUNT)):
        advance.run(*arguments(chance, JOB))

    assert performed == []
    assert rows_of(tmp_path) == before
    assert all(before[table] for table in ("jobs", "chunks"))
    database.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_messages_to_a_live_worker_are_at_worst_a_nudge(fleet: Fleet) -> None:
    """To a live worker, after a job is done: no create, no change in the ledger, no program run, and it lives on."""
    job = fleet.submit(20)
    worker = fleet.start("worker")
    fleet.start("beat")
    job.wait(120)
    until(lambda: job.status().totals.chunks, "the chunks")
    before, bill = rows_of(fleet.work), fleet.gateway.bill()
    chance, trap = random.Random(SEED), fleet.folder / "opened"
    client = client_of(fleet.broker)
    key = f"{KEY_PREFIX}control"

    for _ in range(LIVE_COUNT // 500):
        with client.pipeline(transaction=False) as pipe:
            for _ in range(500):
                pipe.lpush(key, message(chance, job.job_id, str(trap)))
            pipe.execute()
    for _ in range(RUBBISH_COUNT):
        client.lpush(key, chance.randbytes(chance.randrange(1, 200)))
    pressing = time.monotonic() + TAKEN_S_MAX
    while client.llen(key) > 5:
        assert time.monotonic() < pressing, f"{client.llen(key)} messages are left"
        pause(0.2)

    again = fleet.submit(30)
    again.wait(120)
    assert worker.is_running
    assert fleet.said(worker).count("worker.ended") <= RUBBISH_COUNT
    assert not trap.exists()
    after = rows_of(fleet.work)
    assert set(before["attempts"]) <= set(after["attempts"])
    own = [row for row in after["jobs"] if job.job_id in row]
    assert own == [row for row in before["jobs"] if job.job_id in row]
    assert len(after["attempts"]) == len(before["attempts"]) + 1  # the first 20 rows have an answer
    now = fleet.gateway.bill()
    assert (now["creates"], now["paid_twice"]) == (bill["creates"] + 1, 0)
    said = fleet.said(worker)
    assert moves(said) == []
    assert not any(line.startswith("step.failed") for line in said.splitlines())
    assert set(string.printable) >= set("".join(said.split("\n")))
