"""`orchestrator recover`: the ledger is gone, or an old one; the work folder is there. Nothing is sent twice for it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

import orchestrator
from orchestrator import ConfigError, JobHandle, JobUnresolved
from orchestrator.api import timeline
from tests.acceptance.command_line import CommandLine, kill, wait_until
from tests.acceptance.datasets import (
    MODEL,
    QUICK,
    check_bill,
    check_counts,
    check_exact,
    marked,
    read_output,
    write_dataset,
    write_job,
)
from tests.acceptance.operator import resolve_all
from tests.gateway_process import GatewayProcess, running_gateway
from tests.sums import sums

TROUBLE: Final = {  # by row, not by share: else it is chance whether the job stops for a decision
    "create": {"refuse": {"429": 1}},
    "batch": {"expire": 1, "done_share": 0.8},
    "rows": {"fail": {"500": 1, "400": 1}},
    "lines": {"missing": 3, "not_json": 4, "duplicate": 6},
}
UNRESOLVED: Final = 3
COUNTED: Final = ("rows", "succeeded", "failed", "batches", "lines", "missing", "duplicates", "foreign", "unreadable")


def run(gateway: GatewayProcess, work: Path, rows: int, **policy: Any) -> orchestrator.Result:
    """Run a job to its end."""
    return orchestrator.run(marked(rows), **settings(gateway, work, **policy))


def settings(gateway: GatewayProcess, work: Path, **policy: Any) -> dict[str, Any]:
    """Return the arguments of a job."""
    return {
        "prompt": "{text}",
        "model": MODEL,
        "work": work,
        "provider_options": {"base_url": gateway.url, **QUICK},
        "policy": {"chunk_requests_max": 20, "retry_gather_s": 0.2, **policy},
    }


def lose_the_ledger(work: Path) -> None:
    """Delete it, with whatever SQLite keeps beside it."""
    files = list(work.glob("ledger.db*"))
    assert files
    for path in files:
        path.unlink()


def handle(work: Path) -> JobHandle:
    """Return the one job of a work folder."""
    [folder] = [path.parent for path in work.glob("*/job.json")]
    return orchestrator.open_job(folder.name, work=work)


def lasting(job: JobHandle) -> dict[str, Any]:
    """Return what a status says, but for what hangs on the moment, and when its batches were sent and have ended."""
    shown, look = sums(job.status().as_dict()), timeline.look(job)
    times = [(one.chunk, one.sent_at, one.ended_at) for one in timeline.batches(job)]
    assert look.began_at < min(sent_at for _, sent_at, _ in times if sent_at)
    return {name: shown[name] for name in (*COUNTED, "cost_usd", "state")} | {"ended": look.ended_at, "times": times}


def batch_count(gateway: GatewayProcess) -> int:
    """Return how many batches the gateway has."""
    return len(gateway.batches())


@pytest.mark.usefixtures("key")
def test_a_finished_job_comes_back_as_it_was(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Rows, counts and bill are those of before; its output is untouched; nothing is created."""
    gateway.set_faults(TROUBLE)
    work = tmp_path / "work"
    result = run(gateway, work, 90)
    before, creates, output = lasting(handle(work)), batch_count(gateway), read_output(result.path)
    lose_the_ledger(work)

    [found] = orchestrator.recover(work=work)

    assert found.state == "finished"
    assert None not in {when for _, *both in before["times"] for when in both}
    assert lasting(handle(work)) == before
    assert orchestrator.audit(found.job_id, work=work, deep=True).differences == []
    again = run(gateway, work, 90)
    assert read_output(again.path).equals(output)
    assert batch_count(gateway) == creates
    assert gateway.bill()["fees_usd"] == str(again.cost_usd)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_failed_rows_of_a_job_that_came_back_can_be_retried(gateway: GatewayProcess, tmp_path: Path) -> None:
    """What a person may do with a job does not hang on whose ledger it is."""
    gateway.set_faults({"rows": {"fail": {"400": 2}, "times": 1}})
    work = tmp_path / "work"
    assert run(gateway, work, 60).counts["failed"] == 6
    lose_the_ledger(work)
    orchestrator.recover(work=work)

    result = handle(work).retry()

    assert result.counts == {"rows": 60, "succeeded": 60, "failed": 0}
    check_exact(read_output(result.path), marked(60))
    assert orchestrator.audit(result.job_id, work=work, deep=True).differences == []
    before = lasting(handle(work))
    lose_the_ledger(work)
    orchestrator.recover(work=work)
    assert lasting(handle(work)) == before


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_job_that_the_ledger_has_lost_is_not_sent_again_before_it_is_recovered(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Who looks, and who runs it again, is told what to type; looking makes no empty ledger."""
    work = tmp_path / "work"
    done = run(gateway, work, 60)
    creates = gateway.bill()["creates"]
    lose_the_ledger(work)

    for look in (orchestrator.jobs, partial(orchestrator.open_job, done.job_id)):
        with pytest.raises(
            ConfigError, match=rf"ledger.db is gone, .*{done.job_id}.*orchestrator recover --work {work}"
        ):
            look(work=work)
    assert list(work.glob("ledger.db*")) == []
    with pytest.raises(ConfigError, match=f"orchestrator recover --work {work}"):
        run(gateway, work, 60)

    orchestrator.recover(work=work)
    assert run(gateway, work, 60).counts == done.counts
    assert gateway.bill()["creates"] == creates


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("batches", [4, 9])
def test_a_job_whose_ledger_is_lost_half_way_ends_exact_and_pays_once(
    batches: int, cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Kill -9 after so many batches, ledger deleted, recover, run: as many creates as there are chunks."""
    dataset = write_dataset(tmp_path / "rows.parquet", 600)
    policy = {"chunk_requests_max": 50, "batches_in_flight_max": 3}
    job = write_job(tmp_path / "lost.toml", dataset, gateway.url, policy=policy)
    cli.cut_short("run", job, when=lambda: batch_count(gateway) >= batches, what=f"{batches} batches")
    lose_the_ledger(cli.work)

    recovered = cli.run("recover", "--json")
    assert recovered.code == 0, recovered
    finished = cli.run("run", job, "--json")
    if finished.code == UNRESOLVED:
        assert resolve_all(gateway, handle(cli.work))
        finished = cli.run("run", job, "--json")

    assert finished.code == 0, finished
    result = handle(cli.work).results()
    check_exact(read_output(result.path), marked(600))
    check_counts(result.status.as_dict())
    bill = gateway.bill()
    assert (bill["paid_twice"], bill["creates"]) == (0, 12)
    assert str(result.cost_usd) == bill["fees_usd"]
    assert cli.run("audit", job, "--deep").code == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("key")
def test_a_job_in_trouble_whose_ledger_is_lost_again_and_again_pays_once(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Failures, retries, expiry, and the ledger deleted three times on the way."""
    gateway.set_faults(TROUBLE)
    dataset = write_dataset(tmp_path / "rows.parquet", 200)
    policy = {"chunk_requests_max": 20, "batches_in_flight_max": 3, "retry_gather_s": 0.2, "attempts_max": 12}
    job = write_job(tmp_path / "worse.toml", dataset, gateway.url, policy=policy)
    for wanted in (4, 9, 12):
        process = cli.start("run", job)
        wait_until(lambda wanted=wanted, process=process: batch_count(gateway) >= wanted or process.poll() is not None,
                   "batches")  # fmt: skip
        kill(process)
        lose_the_ledger(cli.work)
        assert cli.run("recover").code == 0

    finished = cli.run("run", job, "--json")
    if finished.code == UNRESOLVED:
        resolve_all(gateway, handle(cli.work))
        finished = cli.run("run", job, "--json")

    assert finished.code == 4, finished
    result = handle(cli.work).results()
    check_counts(result.status.as_dict())
    assert result.counts["rows"] == 200
    check_bill(gateway.bill())
    assert str(result.cost_usd) == gateway.bill()["fees_usd"]
    assert orchestrator.audit(result.job_id, work=cli.work, deep=True).differences == []


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_create_under_way_when_the_ledger_was_lost_is_unresolved(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """OneRouter has no list: nothing is sent again before somebody has looked."""
    gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    dataset = write_dataset(tmp_path / "rows.parquet", 60)
    job = write_job(tmp_path / "hung.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})
    cli.cut_short(
        "run",
        job,
        when=lambda: batch_count(gateway) == 3 and len(list(cli.work.glob("*/journal/*.json"))) == 2,
        what="three batches, one of them without an answer, and the answers of the others kept",
    )
    lose_the_ledger(cli.work)

    told = cli.run("recover")
    held = cli.run("run", job)

    assert told.code == 0
    assert "creates under way when the ledger was lost: 1" in told.out
    assert held.code == UNRESOLVED, held
    assert batch_count(gateway) == 3
    assert [batch is not None for batch in resolve_all(gateway, handle(cli.work)).values()] == [True]
    assert cli.run("run", job).code == 0
    assert (gateway.bill()["paid_twice"], gateway.bill()["creates"]) == (0, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_unresolved_creates_that_use_up_the_capacity_end_the_run(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Nothing else can be sent before a person has looked: the run says so, and does not wait for ever."""
    gateway.set_faults({"create": {"hang": 3, "hang_s": 60.0}})
    dataset = write_dataset(tmp_path / "rows.parquet", 100)
    policy = {"chunk_requests_max": 20, "batches_in_flight_max": 3}
    job = write_job(tmp_path / "full.toml", dataset, gateway.url, policy=policy)
    cli.cut_short("run", job, when=lambda: batch_count(gateway) == 3, what="three batches, none with an answer")
    lose_the_ledger(cli.work)
    assert cli.run("recover").code == 0

    held = cli.run("run", job)

    assert held.code == UNRESOLVED, held
    resolve_all(gateway, handle(cli.work))
    assert cli.run("run", job).code == 0
    assert (gateway.bill()["paid_twice"], gateway.bill()["creates"]) == (0, 5)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_what_a_person_said_before_is_not_asked_again(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A resolved create stays resolved: its batch is known from the folder."""
    gateway.set_faults({"create": {"lost": 1}})
    work = tmp_path / "work"
    with pytest.raises(JobUnresolved):
        run(gateway, work, 60)
    resolve_all(gateway, handle(work))
    lose_the_ledger(work)
    orchestrator.recover(work=work)

    result = run(gateway, work, 60)

    check_exact(read_output(result.path), marked(60))
    assert (gateway.bill()["paid_twice"], gateway.bill()["creates"]) == (0, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_an_old_ledger_is_told_what_it_has_forgotten(cli: CommandLine, tmp_path: Path) -> None:
    """Restored from before most creates: audit names their journal files, recover brings them in, none is repeated."""
    dataset = write_dataset(tmp_path / "rows.parquet", 200)
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as gateway:
        policy = {"chunk_requests_max": 20, "batches_in_flight_max": 2}
        job = write_job(tmp_path / "old.toml", dataset, gateway.url, policy=policy)
        cli.cut_short("run", job, when=lambda: batch_count(gateway) >= 2, what="two batches")
        back_up = tmp_path / "back-up.db"
        with sqlite3.connect(cli.work / "ledger.db") as ledger, sqlite3.connect(back_up) as copy:
            ledger.backup(copy)
        early = cli.run("run", job)
        if early.code == UNRESOLVED:
            resolve_all(gateway, handle(cli.work))
            assert cli.run("run", job).code == 0
        lose_the_ledger(cli.work)
        shutil.copy(back_up, cli.work / "ledger.db")

        audited = json.loads(cli.run("audit", job, "--json").out)
        recovered = cli.run("recover", "--json")
        again = cli.run("run", job, "--json")

        forgotten = [one for one in audited["differences"] if one["what"] == "create in the journal"]
        assert len(forgotten) >= 6
        assert recovered.code == 0, recovered
        assert again.code == 0, again
        assert (gateway.bill()["paid_twice"], gateway.bill()["creates"]) == (0, 10)
        assert cli.run("audit", job, "--deep").code == 0


@pytest.mark.usefixtures("key")
def test_a_ledger_that_knows_everything_is_left_alone(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Recovery is no way to reset a job."""
    work = tmp_path / "work"
    run(gateway, work, 20)

    with pytest.raises(ConfigError, match="the ledger has this job and all of its creates"):
        orchestrator.recover(work=work)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_recovery_is_refused_while_somebody_is_at_work(cli: CommandLine, tmp_path: Path) -> None:
    """The process at work is named, and nothing is touched."""
    dataset = write_dataset(tmp_path / "rows.parquet", 20)
    with running_gateway(tmp_path / "gateway", "--duration-s", "3600") as gateway:
        job = write_job(tmp_path / "busy.toml", dataset, gateway.url)
        process = cli.start("run", job)
        try:
            wait_until(lambda: batch_count(gateway) == 1, "a batch")

            refused = cli.run("recover")

            assert refused.code == 2
            assert f"pid {process.pid}" in refused.said
        finally:
            kill(process)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_cancelled_job_comes_back_cancelled(cli: CommandLine, tmp_path: Path) -> None:
    """Before its end it goes on being cancelled; after it, it is as it was."""
    dataset = write_dataset(tmp_path / "rows.parquet", 100)
    with running_gateway(tmp_path / "gateway", "--duration-s", "60") as gateway:
        policy = {"chunk_requests_max": 20, "batches_in_flight_max": 2}
        job = write_job(tmp_path / "cancelled.toml", dataset, gateway.url, policy=policy)
        cli.cut_short(
            "run",
            job,
            when=lambda: batch_count(gateway) == 2 and len(list(cli.work.glob("*/journal/*.json"))) == 2,
            what="two batches, and both answers kept",
        )
        assert cli.run("cancel", job).code == 0
        before = lasting(handle(cli.work))
        lose_the_ledger(cli.work)

        assert cli.run("recover").code == 0

        assert before["state"] == "cancelled"
        assert lasting(handle(cli.work)) == before
        assert cli.run("audit", job).code == 0
        assert batch_count(gateway) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_rows_that_were_planned_and_failed_in_a_later_revision_are_not_sent_again_for_it(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """A cancel finds them unplanned; the retry plans and sends them, and the ledger is lost before it ends."""
    gateway.set_faults({"rows": {"fail": {"400": 5}, "times": 0}, "create": {"lost": 1}})
    work = tmp_path / "work"
    orchestrator.submit(marked(60), **settings(gateway, work)).cancel()
    with pytest.raises(JobUnresolved):
        handle(work).retry()
    before = lasting(handle(work))
    lose_the_ledger(work)

    orchestrator.recover(work=work)

    assert lasting(handle(work)) == before
    tries = [one for row in (5, 59) for one in handle(work).show(row).tries]
    assert [one.revision for one in tries] == [2, 2]


def test_an_empty_folder_has_nothing_to_recover_and_nothing_to_show(tmp_path: Path) -> None:
    """Said as a mistake, with what to do; nothing is made."""
    for look in (orchestrator.recover, orchestrator.jobs):
        with pytest.raises(ConfigError, match="holds no job: run a job first, or name the folder with --work"):
            look(work=tmp_path)

    assert list(tmp_path.iterdir()) == []
