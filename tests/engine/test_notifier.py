"""Notices are sent at least once, tried again for hours, and hold up nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.model import BatchId, ChunkState, Job, JobId, JobState
from orchestrator.domain.notices import Again, Format, Kind
from orchestrator.engine import notifier as engine_notifier
from orchestrator.engine.notifier import TRIES_MAX, Notifier
from orchestrator.engine.opening import open_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.providers.webhook import Receiver
from tests.builders import JOB, a_chunk, a_job, an_attempt
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import VirtualClock
from tests.servers.receiver import Receiver as Server
from tests.servers.receiver import running_receiver


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(random.Random(1))


@pytest.fixture
def workspace(tmp_path: Path, clock: VirtualClock) -> Iterator[Workspace]:
    workspace = open_workspace(str(tmp_path), "", {})
    workspace.other_clock = clock
    yield workspace
    workspace.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with running_receiver() as server:
        yield server


def a_notifier(workspace: Workspace, server: Server, *on: Kind) -> Notifier:
    receiver = Receiver(url=server.url, format=Format.JSON, on=on or tuple(Kind), named_by="HOOK")
    return Notifier(workspace, receiver)


def until_received(server: Server) -> None:
    """Wait until a notice is being sent."""
    while not server.received:
        time.sleep(0.01)


def ended(workspace: Workspace, job: Job | None = None) -> None:
    """Enter a job that has just finished."""
    now = workspace.clock.now()
    workspace.admin.open(job or a_job(), 1, now=now)
    LedgerHarness(workspace.database).put_job(JobState.FINISHED, now=now)


def test_a_notice_that_was_not_received_is_sent_again_with_the_same_id(
    workspace: Workspace, server: Server, clock: VirtualClock
) -> None:
    ended(workspace)
    notifier = a_notifier(workspace, server)
    server.statuses[:] = [500]

    assert notifier.send_due() == 0
    assert workspace.look(JOB).undelivered.tried_again == 1
    assert notifier.send_due() == 0
    clock.advance(10)
    assert notifier.send_due() == 1
    assert notifier.send_due() == 0

    first, second = server.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert workspace.look(JOB).undelivered.count == 0


def test_a_receiver_that_stays_away_is_given_up_after_hours_and_a_look_tells(
    workspace: Workspace, server: Server, clock: VirtualClock
) -> None:
    ended(workspace)
    notifier = a_notifier(workspace, server)
    server.statuses[:] = [503] * 99

    while workspace.notices.counts()["waiting"]:
        notifier.send_due()
        clock.advance(60)

    assert len(server.received) == TRIES_MAX
    assert 2 * 3_600 < clock.elapsed_s < 24 * 3_600
    undelivered = workspace.look(JOB).undelivered
    assert (undelivered.given_up, undelivered.tried_again) == (1, 0)
    assert undelivered.error.endswith(" answered 503")


def test_the_end_of_a_run_tries_again_what_was_put_off_and_a_person_what_was_given_up(
    workspace: Workspace, server: Server
) -> None:
    ended(workspace)
    notifier = a_notifier(workspace, server)
    server.statuses[:] = [500, 500, 410]

    assert [notifier.send_due(again) for again in (Again.WHEN_DUE, Again.WHEN_DUE, Again.NOW, Again.NOW)] == [0] * 4
    assert workspace.look(JOB).undelivered.given_up == 1  # the receiver is gone
    assert notifier.send_due(Again.NOW) == 0
    assert notifier.send_due(Again.GIVEN_UP_TOO) == 1
    assert notifier.send_due(Again.GIVEN_UP_TOO) == 0

    assert len(server.received) == 4
    assert workspace.look(JOB).undelivered.count == 0


@pytest.mark.timeout(60)
def test_a_run_that_ends_says_for_whom_it_waits_and_leaves_the_notice_to_the_next(
    workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that takes a connection and never answers; the words have no path, which may be a secret."""
    monkeypatch.setattr(engine_notifier, "ROUND_S", 0.01)
    monkeypatch.setattr(engine_notifier, "SILENT_S", 0.1)
    monkeypatch.setattr(engine_notifier, "LAST_S", 0.6)
    ended(workspace)
    notifier, told = a_notifier(workspace, server), list[str]()
    notifier.tell = told.append
    server.silent.set()
    with notifier:
        until_received(server)

    host = server.url.removesuffix("/hook-s3cret")
    assert told == [
        f"telling {host}: up to 1 s; Ctrl-C leaves it for the next run",
        f"{host} has not answered:\n  `orchestrator notify` tries again, and so does the next run",
    ]
    undelivered = workspace.look(JOB).undelivered
    assert (undelivered.tried_again, undelivered.error) == (1, engine_notifier.LEFT)
    with running_receiver() as another:  # the first is silent still: its answer would settle the notice, too
        assert a_notifier(workspace, another).send_due() == 1


@pytest.mark.timeout(60)
def test_ctrl_c_while_the_end_is_told_leaves_that_alone(
    workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_notifier, "ROUND_S", 0.01)
    monkeypatch.setattr(engine_notifier, "SILENT_S", 0.1)
    monkeypatch.setattr(engine_notifier, "LAST_S", 600.0)
    ended(workspace)
    notifier, told = a_notifier(workspace, server), list[str]()

    def tell(words: str) -> None:
        told.append(words)
        if words.startswith("telling"):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    notifier.tell = tell
    server.silent.set()
    with notifier:
        until_received(server)

    assert "has not answered" in told[-1]


def test_a_notice_that_no_process_has_sent_is_told_after_a_while(workspace: Workspace, clock: VirtualClock) -> None:
    """Only where it is known that somebody wants it: of a job without a `[notify]` perhaps nobody does."""
    notify = {"url_env": "HOOK", "format": "json", "on": [kind.value for kind in Kind], "secret_env": ""}
    for job in (a_job(), replace(a_job(JobId("own")), spec=json.dumps({"notify": notify}))):
        workspace.admin.open(job, 1, now=clock.now())
        LedgerHarness(workspace.database).put_job(JobState.FINISHED, now=clock.now(), job_id=job.id)
    assert workspace.look(JobId("own")).undelivered.count == 0
    clock.advance(600)

    assert workspace.look(JOB).undelivered.count == 0
    assert workspace.look(JobId("own")).undelivered.tried_again == 1
    clock.advance(86_400)
    assert workspace.look(JobId("own")).undelivered.given_up == 1


def test_a_kind_that_nobody_wants_is_not_sent(workspace: Workspace, server: Server) -> None:
    ended(workspace)

    a_notifier(workspace, server, Kind.BUDGET).send_due()

    assert server.received == []
    assert workspace.notices.counts()["unwanted"] == 1


def test_what_the_end_has_brought_is_sent_before_the_process_ends(workspace: Workspace, server: Server) -> None:
    with a_notifier(workspace, server):
        ended(workspace)

    (got,) = server.received
    assert json.loads(got.body)["type"] == "job.finished"


def test_a_job_that_waits_for_its_budget_is_told(workspace: Workspace, server: Server) -> None:
    """No step records it: a chunk that does not fit is not handed out."""
    now, harness = workspace.clock.now(), LedgerHarness(workspace.database)
    workspace.admin.open(a_job(budget_usd=Decimal(10)), 1, now=now)
    sent = a_chunk("c00000-00099", state=ChunkState.SUBMITTED, batch_id=BatchId("b"))
    opened = AttemptOpened(attempt=an_attempt("token-1", sent, reserved_usd=Decimal(6)), budget_usd=None)
    harness.write(opened, now=now)
    for chunk in (sent, a_chunk("c00000-00001", cost_usd_max=Decimal(7))):
        harness.add(chunk, due_at=now)

    with a_notifier(workspace, server):
        pass

    (got,) = server.received
    said = json.loads(got.body)
    assert said["type"] == "job.budget"
    assert "6.00 USD of 10.00 USD is spent or reserved" in said["data"]["reason"]
