"""Ctrl-C, SIGTERM, SIGHUP, a stop event and slow renders in a user's own Python program: nothing paid is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import orchestrator
from orchestrator import JobInterrupted
from orchestrator.api.commands import jobs
from tests.acceptance.command_line import ended, wait_until
from tests.acceptance.datasets import MODEL, QUICK, check_exact, marked
from tests.gateway_process import ROOT, GatewayProcess
from tests.servers.proxy import FaultProxy, running_proxy

pytestmark = pytest.mark.usefixtures("key")
ROWS: Final = 10
SAMPLED: Final = 2 * ROWS  # rendered twice before the job is added: are the requests the same each time?
ANSWER_S: Final = 2.0  # how long an answer of the slow provider is on its way
PROGRAM: Final = f"""
import signal, sys
import orchestrator
from tests.acceptance.datasets import MODEL, QUICK, marked

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
handlers = [signal.getsignal(number) for number in SIGNALS]
try:
    orchestrator.run(marked({ROWS}), prompt="{{text}}", model=MODEL, work=sys.argv[1], name="script",
                     provider_options={{"base_url": sys.argv[2], **QUICK}})
except orchestrator.JobInterrupted as error:
    print("interrupted:", error)
else:
    print("finished")
print("handlers restored:", handlers == [signal.getsignal(number) for number in SIGNALS])
"""


@pytest.fixture
def slow(gateway: GatewayProcess) -> Iterator[FaultProxy]:
    """The gateway behind a proxy whose answers can be made slow."""
    with running_proxy(("127.0.0.1", int(gateway.base_url.rpartition(":")[2]))) as proxy:
        yield proxy


def start(folder: Path, url: str) -> subprocess.Popen[str]:
    """Start a user's program in a process of its own, in which SIGINT is what it is on a terminal."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "work"), url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_is_interrupted_in_a_create_has_its_answer_recorded(
    sign: signal.Signals, gateway: GatewayProcess, slow: FaultProxy, tmp_path: Path
) -> None:
    """The batch is paid: its id must be known when the program ends, and the next run must not send it again."""
    url = f"http://127.0.0.1:{slow.port}/v1"
    slow.delay_s = ANSWER_S
    program = start(tmp_path, url)
    wait_until(lambda: len(gateway.batches()) == 1, "a create whose answer is on its way")
    program.send_signal(sign)
    stopped = ended(program)

    assert stopped.code == 0, stopped
    assert "run it again to resume" in stopped.out
    assert "handlers restored: True" in stopped.out
    assert f"{sign.name}: finishing the calls under way" in stopped.err
    [job] = jobs(work=tmp_path / "work")
    assert job.status().as_dict()["chunks"] == {"submitted": 1}

    slow.delay_s = 0.0
    again = ended(start(tmp_path, url))

    assert "finished" in again.out, again
    check_exact(job.results().to_arrow(), marked(ROWS))
    bill = gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (1, 0)


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Whoever presses Ctrl-C twice does not wait for an answer that may never come."""
    gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    program = start(tmp_path, gateway.url)
    wait_until(lambda: len(gateway.batches()) == 1, "a create whose answer never comes")
    program.send_signal(signal.SIGINT)
    assert program.stderr is not None
    while "finishing the calls under way" not in program.stderr.readline():
        assert program.poll() is None

    program.send_signal(signal.SIGINT)

    stopped = ended(program, deadline_s=10.0)
    assert "KeyboardInterrupt" in stopped.err


class UsersCode:
    """What a user's row function does before each row, and which rows it was called for."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.before_row: Callable[[int], None] = lambda _number: None


USER: Final = UsersCode()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    USER.__init__()  # type: ignore[misc]


def render(row: dict[str, Any]) -> dict[str, Any]:
    """Render a row."""
    USER.rows.append(row["text"])
    USER.before_row(len(USER.rows))
    return {"model": MODEL, "messages": [{"role": "user", "content": row["text"]}]}


def run(gateway: GatewayProcess, work: Path, **options: Any) -> orchestrator.Result:
    """Run a job that is rendered by the function."""
    given = {"base_url": gateway.url, **QUICK}
    given_too = {"render_version": "1", **options}  # it keeps a record of its calls, so that its own state changes
    return orchestrator.run(marked(ROWS), render=render, model=MODEL, work=work, provider_options=given, **given_too)


def test_a_stop_in_a_long_render_ends_it_at_the_next_row_and_nothing_is_sent(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """A million rows at a second each would be waited for otherwise; the next run sends each row once."""
    stop = threading.Event()
    USER.before_row = lambda count: stop.set() if count == SAMPLED + 3 else None

    with pytest.raises(JobInterrupted, match=r"run it again to resume\.$"):  # nothing was sent that goes on
        run(gateway, tmp_path / "work", stop=stop)

    assert len(USER.rows) == SAMPLED + 3
    assert gateway.batches() == []
    check_exact(run(gateway, tmp_path / "work").to_arrow(), marked(ROWS))
    bill = gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (1, 0)


def test_a_render_that_is_slower_than_the_lease_renders_each_row_once(
    gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first row alone takes three leases, by the ledger's own record of them."""
    monkeypatch.setenv("ORCHESTRATOR_LEASE_S", "0.2")
    ledger = tmp_path / "work" / "ledger.db"

    def leased_until() -> float:
        with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            [(microseconds,)] = connection.execute("select lease_until from shards")
        return float(microseconds) / 1e6

    def three_leases(count: int) -> None:
        if count == SAMPLED + 1:
            began = leased_until()
            wait_until(lambda: leased_until() > began + 3 * 0.2, "a lease that is renewed")

    USER.before_row = three_leases

    result = run(gateway, tmp_path / "work")

    assert len(USER.rows) == SAMPLED + ROWS
    check_exact(result.to_arrow(), marked(ROWS))
    assert gateway.bill()["creates"] == 1
