"""Notices as a user sets them up: a table in a job file, an address in the environment, a receiver that is real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.command_line import CommandLine
from tests.acceptance.datasets import mark, write_dataset, write_job
from tests.gateway_process import GatewayProcess
from tests.servers.receiver import running_receiver

NOTIFY = {"url_env": "MY_HOOK", "on": ["finished", "needs_person"]}


def with_hook(cli: CommandLine, **variables: str) -> CommandLine:
    return replace(cli, environment={**cli.environment, **variables})


@pytest.mark.slow
def test_a_job_file_says_where_its_end_is_told_and_a_receiver_that_is_wrong_is_named(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """One notice, with counts and no row; `notify` tries it first, `doctor` looks at it without sending."""
    dataset = write_dataset(tmp_path / "rows.parquet", 20)
    job = write_job(tmp_path / "job.toml", dataset, gateway.url, notify=NOTIFY)
    with running_receiver() as server:
        hooked = with_hook(cli, MY_HOOK=server.url)
        host = server.url.removesuffix("/hook-s3cret")

        tried = hooked.run("notify", job)
        assert (tried.code, tried.out) == (0, f"✓ {host} (json) has received a test: 204\n"), tried
        looked = hooked.run("doctor", job)
        assert f"notices: to {host} (json): finished, needs_person" in looked.said, looked
        ran = hooked.run("run", job)
        assert ran.code == 0, ran

        test, told = (json.loads(one.body) for one in server.received)
        assert (test["type"], told["type"]) == ("test", "job.finished")
        assert (told["data"]["state"], told["data"]["rows"]["answered"]) == ("finished", 20)
        assert not any(mark(row).encode() in one.body for one in server.received for row in range(20))

        server.statuses[:] = [404]
        failed = hooked.run("notify", job)
        assert failed.code == 3, failed
        assert f"error: {host} answered 404. Correct MY_HOOK, or the receiver" in failed.said
    unset = cli.run("notify", job)
    assert (unset.code, "the environment variable MY_HOOK is not set" in unset.said) == (2, True), unset


def test_settings_tell_of_jobs_without_a_table_and_status_of_what_was_not_received(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.toml", write_dataset(tmp_path / "rows.parquet", 20), gateway.url)
    nothing = cli.run("notify")
    assert (nothing.code, "nothing says where notices go. Set ORCHESTRATOR_NOTIFY_URL" in nothing.said) == (2, True), (
        nothing
    )
    with running_receiver() as server:
        server.statuses[:] = [410]
        hooked = with_hook(cli, ORCHESTRATOR_NOTIFY_URL=server.url, ORCHESTRATOR_NOTIFY_FORMAT="slack")

        assert hooked.run("run", job).code == 0

        (told,) = server.received
        assert "20 of 20 rows answered" in json.loads(told.body)["text"]
        (job_id,) = (path.parent.name for path in cli.work.glob("*/job.json"))
        assert cli.status(job_id)["undelivered_notices"] == 1
        shown = cli.run("status", job_id)
        assert "1 notice was not received: http://127.0.0.1" in shown.said, shown
        assert f"answered 410 to try again now: orchestrator notify {job_id}" in shown.said
        assert "1 notice was not received in the last day" in hooked.run("doctor").said

        again = hooked.run("notify", job_id)

        assert (again.code, again.out.splitlines()[1:]) == (0, ["✓ 1 notice was received now that had not been"]), again
        assert json.loads(server.received[-1].body) == json.loads(told.body)
        assert cli.status(job_id)["undelivered_notices"] == 0
        assert hooked.run("notify", job_id).out.count("✓") == 1
        for each in (shown, again):
            assert "s3cret" not in each.said


@pytest.mark.parametrize("variables", [{"ORCHESTRATOR_NOTIFY_FORMAT": "teams"}, {"ORCHESTRATOR_NOTIFY_ON": "end"}])
def test_settings_that_cannot_be_used_are_refused(cli: CommandLine, variables: dict[str, str]) -> None:
    looked = with_hook(cli, **variables).run("doctor")

    assert looked.code == 2, looked
    assert f"{next(iter(variables))} must be " in looked.said or f"{next(iter(variables))}: there is no" in looked.said
