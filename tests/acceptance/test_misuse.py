"""What people get wrong, each with the message they need: no traceback, no row, no secret, and nothing sent."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.cli.main import CHECKS, main
from tests.acceptance.command_line import CommandLine, Ended, command_line, ended, kill, wait_until
from tests.acceptance.datasets import check_bill, check_exact, marked, read_output, write_dataset, write_job
from tests.gateway_process import GatewayProcess, running_gateway

WRONG: Final = 2
WAITING: Final = 3
ROWS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A wrong word in a job file, and what the message must hold."""

    name: str
    says: tuple[str, ...]
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


MISTAKES: Final = (
    Mistake(name="no such dataset", tables={"job": {"dataset": "nowhere.parquet"}}, says=("nowhere.parquet",)),
    Mistake(name="a glob without a match", tables={"job": {"dataset": "no/*.csv"}}, says=("no/*.csv",)),
    Mistake(name="no such column", tables={"request": {"prompt": "{txet}"}}, says=("txet", "text")),
    Mistake(name="a lone brace", tables={"request": {"prompt": "{text} }"}}, says=("}}", "lone")),
    Mistake(name="an unknown key", tables={"policy": {"atempts_max": 1}}, says=("atempts_max", "attempts_max")),
    Mistake(name="an unknown table", tables={"polcy": {"attempts_max": 1}}, says=("polcy", "policy")),
    Mistake(name="a wrong type", tables={"policy": {"attempts_max": "3"}}, says=("attempts_max", "whole number")),
    Mistake(name="a wrong choice", tables={"policy": {"on_ambiguous": "guess"}}, says=("on_ambiguous", "reconcile")),
    Mistake(name="a wrong amount", tables={"policy": {"budget_usd": "much"}}, says=("budget_usd", "USD")),
    Mistake(name="a clash of columns", tables={"output": {"custom_id": "text"}}, says=("text", "output.custom_id")),
    Mistake(name="an unknown provider", tables={"job": {"provider": "twopenny"}}, says=("twopenny", "onerouter")),
    Mistake(name="a wrong name", tables={"job": {"name": "My Job!"}}, says=("job.name", "lower-case")),
    Mistake(
        name="a budget without a price",
        tables={"policy": {"budget_usd": "1"}, "request": {"model": "unheard-of"}},
        says=("budget_usd", "unheard-of", "prices"),
    ),
    Mistake(name="no prompt", tables={"request": {"prompt": None}}, says=("prompt",)),
)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway to which nothing must come."""
    with running_gateway(tmp_path_factory.mktemp("idle"), "--duration-s", "0") as running:
        yield running


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, tmp_path: Path
) -> Iterator[Callable[..., Ended]]:
    """The same command line in this process: most of a mistake's time would be the start of another."""
    assert key

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["orchestrator", *map(str, arguments), "--work", str(tmp_path / "work")])
        with pytest.raises(SystemExit) as ended_by:
            main()
        said = capsys.readouterr()
        return Ended(code=int(ended_by.value.code or 0), out=said.out, err=said.err)

    root, package, checks = (logging.getLogger(name) for name in (None, "orchestrator", CHECKS))
    before = list(root.handlers), root.level, package.level, sys.excepthook, threading.excepthook
    of_checks, on_interrupt = (list(checks.handlers), checks.propagate), signal.getsignal(signal.SIGINT)
    yield run
    root.handlers[:], root.level, package.level, sys.excepthook, threading.excepthook = before
    checks.handlers[:], checks.propagate = of_checks
    signal.signal(signal.SIGINT, on_interrupt)


def check_refused(found: Ended) -> str:
    """Check that a command was refused as wrong, in few and safe words; return them."""
    assert found.code == WRONG, found
    assert "Traceback" not in found.said, found.said
    assert "mark-0" not in found.said, "a row in a message"
    assert len(found.said) < 700, "too long to be read"
    return found.said


def refused(cli: CommandLine, *arguments: str | Path) -> str:
    """Run a command that must be refused as wrong; return what it said."""
    return check_refused(cli.run(*arguments))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_in_a_job_file_is_named_before_anything_is_sent(
    mistake: Mistake, idle: GatewayProcess, here: Callable[..., Ended], tmp_path: Path
) -> None:
    """Exit code 2, and a message that names what is wrong and what would be right."""
    dataset = write_dataset(tmp_path / "rows.parquet", 5)

    said = check_refused(here("run", write_job(tmp_path / "wrong.toml", dataset, idle.url, **mistake.tables)))

    for word in mistake.says:
        assert word in said
    assert idle.batches() == []


def test_a_null_in_the_template_is_named_with_its_column_and_rows(
    idle: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """Under the default policy, a null is the user's to decide about; nothing is sent before that."""
    dataset = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c", None]}), dataset)

    said = cli.run("run", write_job(tmp_path / "null.toml", dataset, idle.url))

    assert said.code in (WRONG, WAITING)
    for word in ("'text'", "null", "1", "3", "null_policy"):
        assert word in said.said
    assert "Traceback" not in said.said
    assert idle.batches() == []


def test_commands_about_what_is_not_there_say_so(idle: GatewayProcess, cli: CommandLine, tmp_path: Path) -> None:
    """A job, a job file, a work folder, a held chunk."""
    dataset = write_dataset(tmp_path / "rows.parquet", 5)
    job = write_job(tmp_path / "never-run.toml", dataset, idle.url)

    assert "no work folder" in refused(cli, "status", "never-run-00000000")
    assert "absent.toml" in refused(cli, "run", tmp_path / "absent.toml")
    cli.work.mkdir()
    assert "no job" in refused(cli, "status", "never-run-00000000")
    assert "no job" in refused(cli, "results", job)
    assert "no job" in refused(cli, "cancel", job)
    assert idle.batches() == []


def test_a_missing_key_is_named_and_never_a_stand_in(idle: GatewayProcess, tmp_path: Path) -> None:
    """The message names the environment variable; the job is not entered."""
    cli = command_line(tmp_path / "user", key=None)
    job = write_job(tmp_path / "keyless.toml", write_dataset(tmp_path / "rows.parquet", 5), idle.url)

    assert "ONEROUTER_API_KEY" in refused(cli, "run", job)

    assert "has not been run in " in refused(cli, "status", job)


def test_a_work_folder_that_cannot_be_written_is_named(idle: GatewayProcess, cli: CommandLine, tmp_path: Path) -> None:
    """A file stands where the folder should be; root can write anywhere, so that a mode bit would not do."""
    job = write_job(tmp_path / "blocked.toml", write_dataset(tmp_path / "rows.parquet", 5), idle.url)
    cli.work.parent.mkdir(parents=True, exist_ok=True)
    cli.work.write_text("")

    assert str(cli.work) in refused(cli, "run", job)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_work_folder_is_named(idle: GatewayProcess, cli: CommandLine, tmp_path: Path) -> None:
    """Its path, and why."""
    job = write_job(tmp_path / "blocked.toml", write_dataset(tmp_path / "rows.parquet", 5), idle.url)
    cli.work.mkdir(parents=True)
    cli.work.chmod(0o500)

    assert str(cli.work) in refused(cli, "run", job)


def test_a_wrong_key_is_told_before_anything_is_sent_and_the_right_one_finishes(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """Exit code 3, the provider's own words, and which variable to set; the same command then finishes."""
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    job = write_job(tmp_path / "wrong.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})
    wrong = CommandLine(folder=cli.folder, environment={**cli.environment, "ONEROUTER_API_KEY": "sk-wrong-canary"})

    stopped = wrong.run("run", job)

    assert stopped.code == WAITING, stopped
    assert "the key in ONEROUTER_API_KEY is refused by " in stopped.said
    assert "Nothing was sent" in stopped.said
    assert "sk-wrong-canary" not in stopped.said
    assert "Traceback" not in stopped.said
    finished(cli, job, gateway)


def test_a_key_that_may_not_create_pauses_the_account_and_is_told_once(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """Exit code 3, nothing unresolved, nothing failed; no time of a next try, as only a person can go on."""
    gateway.set_faults({"create": {"refuse": {"401": 1.0}}})
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    job = write_job(tmp_path / "locked.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})

    stopped = cli.run("run", job)

    assert stopped.code == WAITING, stopped
    assert stopped.said.count("HTTP 401") == stopped.said.count("run the job again") == 1
    assert "next try" not in stopped.said
    gateway.set_faults({})
    status = cli.status(job)
    assert (status["failed"], status["unresolved_chunks"], status["batches"]) == (0, 0, 0)
    assert "401" in status["account_paused"]
    finished(cli, job, gateway)


@pytest.mark.slow
def test_without_credit_the_job_waits_and_goes_on_when_there_is_some(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """402: it says so, waits by itself, and no row is given up."""
    gateway.set_faults({"create": {"refuse": {"402": 1.0}}})
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    job = write_job(tmp_path / "poor.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})

    waiting = cli.start("run", job)
    wait_until(lambda: "HTTP 402" in cli.run("status", job).said, "the pause in the status")
    kill(waiting)
    gateway.set_faults({})

    assert cli.status(job)["failed"] == 0


@pytest.mark.slow
def test_a_budget_stops_the_job_cleanly_and_a_larger_one_lets_it_go_on(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """What is spent never passes the budget; the message names it."""
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    shape: dict[str, Any] = {"request": {"max_tokens": 64}}
    small = {"chunk_requests_max": 20, "batches_in_flight_max": 1, "budget_usd": "0.00001"}
    job = write_job(tmp_path / "thrifty.toml", dataset, gateway.url, policy=small, **shape)

    stopped = cli.run("run", job)

    assert stopped.code == WAITING, stopped
    assert "the budget is too small: nothing was spent" in stopped.said
    assert f"`orchestrator cancel {cli.status(job)['job_id']}" in stopped.said
    assert "Traceback" not in stopped.said
    status = cli.status(job)
    assert float(status["cost_usd"]) + float(status["reserved_usd"]) <= 0.00001
    write_job(job, dataset, gateway.url, policy={**small, "budget_usd": "1"}, **shape)
    finished(cli, job, gateway)


@pytest.mark.slow
def test_a_provider_that_is_not_there_is_said_to_be_not_there(cli: CommandLine, tmp_path: Path) -> None:
    """A wrong port: nothing is created, nothing is given up, and the user sees why nothing moves."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can be there
        port = unused.getsockname()[1]
        dataset = write_dataset(tmp_path / "rows.parquet", 5)
        job = write_job(tmp_path / "nobody.toml", dataset, f"http://127.0.0.1:{port}/v1")
        process = cli.start("run", job)
        try:
            assert process.stderr is not None
            said = ""
            while "refused" not in said.lower():
                line = process.stderr.readline()
                assert line, said
                said += line
            assert "Traceback" not in said
        finally:
            kill(process)
            ended(process)


def test_a_first_batch_that_is_refused_stops_the_job_before_the_rest_is_sent(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """A 400 to several creates at once: all of them are known to be refused, and none is held."""
    gateway.set_faults({"create": {"refuse": {"400": 1.0}}})
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    job = write_job(tmp_path / "mistaken.toml", dataset, gateway.url, policy={"chunk_requests_max": 5})

    stopped = cli.run("run", job)

    assert stopped.code == WAITING, stopped
    assert "HTTP 400" in stopped.said
    status = cli.status(job)
    assert (status["state"], status["unresolved_chunks"], status["failed"]) == ("stopped", 0, 0)
    assert set(status["chunks"]) == {"planned"}
    gateway.set_faults({})
    finished(cli, job, gateway)


def finished(cli: CommandLine, job: Path, gateway: GatewayProcess) -> None:
    """Run a job that must now end, whole and paid once."""
    result = cli.run("run", job, "--json")
    assert result.code == 0, result
    [manifest] = cli.work.glob("*/output/_SUCCESS")
    check_exact(read_output(manifest.parent), marked(ROWS))
    check_bill(gateway.bill())
    assert gateway.bill()["paid_twice"] == 0
