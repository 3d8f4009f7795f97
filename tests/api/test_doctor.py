"""`orchestrator doctor`, and the free checks before a job's first create. The server and the command line are real."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

import orchestrator
from orchestrator.cli.main import app
from orchestrator.domain.errors import ConfigError, JobInterrupted, JobStopped
from orchestrator.domain.model import JobId
from orchestrator.engine.locks import one_of_fleet, run_of
from orchestrator.engine.opening import LOCK
from tests.acceptance.datasets import write_dataset, write_job
from tests.adapters.wire import WireServer, answer, saying, serving
from tests.reports.server import OneRouterServer, OpenAIServer, Reply, running

KEY: Final = "sk-canary-d0c702aa"
LISTED: Final = answer(200, json.dumps({"data": [{"id": "gpt-6-luna", "object": "model"}]}).encode())
REQUEST: Final = {"model": "gpt-6-luna", "prompt": "{text}"}


@pytest.fixture
def server() -> Iterator[WireServer]:
    with serving(saying(LISTED)) as found:
        yield found


def job_file(folder: Path, url: str, *, rows: int = 20, **request: Any) -> Path:
    dataset = write_dataset(folder / "rows.parquet", rows)
    return write_job(
        folder / "job.toml",
        dataset,
        f"{url}/v1",
        job={"provider": "openai", "work": str(folder / "work")},
        request=REQUEST | request,
        provider={"api_key_env": "THE_KEY"},
    )


def doctor(*arguments: str | Path, **environment: str) -> Result:
    given = {"THE_KEY": KEY} | environment
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], env=given, catch_exceptions=False)


def test_python_gets_the_same_checks_as_the_command_line(
    server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URL", "redis://127.0.0.1:1/0")
    described = job_file(tmp_path, server.url)
    printed = json.loads(doctor(described, "--json").stdout)["checks"]

    found = orchestrator.doctor(orchestrator.read_job(described))

    assert [check.as_dict()["check"] for check in found] == [check["check"] for check in printed]
    assert [check.level for check in found] == [check["level"] for check in printed]
    assert {check.name: check.level for check in found}["broker"] == "error"
    assert isinstance(found[0], orchestrator.Check)


def test_python_gets_a_check_for_a_job_that_there_is_none_of(tmp_path: Path) -> None:
    found = orchestrator.doctor("no-such-job-00000000", work=tmp_path)

    assert [check.name for check in found if check.level == "error"][:1] == ["job"]


def levels(result: Result) -> Mapping[str, str]:
    return {check["check"]: check["level"] for check in json.loads(result.stdout)["checks"]}


def test_a_job_that_can_run_is_told_so_line_by_line_and_nothing_is_sent(server: WireServer, tmp_path: Path) -> None:
    result = doctor(job_file(tmp_path, server.url))

    assert result.exit_code == 0, result.output
    for line in (
        "ok      job: job-",
        "ok      key: THE_KEY holds a key",
        f"ok      address: {server.url}/v1/models answers",
        "ok      credential: the key in THE_KEY is accepted",
        "ok      model: gpt-6-luna is in the provider's list",
        "ok      price: 0.05 in, 0.25 out",
        "ok      work folder: ",
        "ok      disk: ",
    ):
        assert line in result.stdout
    assert [request.split(b" ")[0] for request in server.requests] == [b"GET"]
    assert not (tmp_path / "work").exists()
    assert KEY not in result.output


@pytest.mark.parametrize(
    ("key", "told"), [("", "is empty"), (f"{KEY}\n", "a line end"), (f"'{KEY}'", "quotes"), ("k\u00e9y", "U+00E9")]
)
def test_a_check_that_fails_does_not_hide_the_others(key: str, told: str, server: WireServer, tmp_path: Path) -> None:
    result = doctor(job_file(tmp_path, server.url), THE_KEY=key)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("error")]

    assert line.startswith("error   settings: the environment variable THE_KEY")
    assert told in line
    assert result.exit_code == 2
    assert "ok      price: " in result.stdout
    assert "ok      disk: " in result.stdout
    assert server.requests == []


def test_a_mistake_in_the_job_is_one_of_the_checks(server: WireServer, tmp_path: Path) -> None:
    result = doctor(job_file(tmp_path, server.url, prompt="{no_such_column}"), "--json")

    assert result.exit_code == 2
    assert levels(result)["job"] == "error"
    assert levels(result)["address"] == "ok"


def test_a_disk_that_is_too_small_for_the_job_is_told_before_it_is_full(server: WireServer, tmp_path: Path) -> None:
    result = doctor(job_file(tmp_path, server.url, rows=10_000, max_tokens=2**31 - 1), "--json")

    assert levels(result)["disk"] == "warning"
    assert result.exit_code == 0


def test_a_work_folder_that_cannot_be_made_is_an_error(server: WireServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = doctor(job_file(tmp_path, server.url), "--work", tmp_path / "file" / "work", "--json")

    assert levels(result)["work folder"] == "error"
    assert result.exit_code == 2


def test_a_fleet_in_the_work_folder_is_told_and_another_run_is_in_nobodys_way(
    server: WireServer, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    path = job_file(tmp_path, server.url)
    work.mkdir()
    with run_of(work / LOCK, JobId("job-1")):
        beside_a_run = doctor(path, "--json")
    with one_of_fleet(work / LOCK):
        beside_a_fleet = doctor(path, "--json")

    assert levels(beside_a_run)["work folder"] == "ok"
    assert (levels(beside_a_fleet)["ledger"], levels(beside_a_fleet)["work folder"]) == ("ok", "warning")


def test_a_broker_that_does_not_answer_needs_a_person(server: WireServer, tmp_path: Path) -> None:
    """Only where one is configured; its password is not shown."""
    path = job_file(tmp_path, server.url)
    result = doctor(path, "--json", ORCHESTRATOR_BROKER_URL="redis://:canary-pw@127.0.0.1:9/0")

    assert levels(result)["broker"] == "error"
    assert "canary-pw" not in result.output
    assert result.exit_code == 3
    assert "broker" not in levels(doctor(path, "--json"))


def test_a_job_that_is_not_in_the_work_folder_is_one_of_the_checks(tmp_path: Path) -> None:
    result = doctor("no-such-job", "--work", tmp_path / "work", "--json")

    assert levels(result)["job"] == "error"
    assert levels(result)["disk"] == "ok"
    assert result.exit_code == 2


def test_without_a_job_the_providers_with_a_key_are_looked_at(tmp_path: Path) -> None:
    result = doctor("--work", tmp_path / "work", "--json")

    assert levels(result)["key"] == "warning"  # none is set
    assert result.exit_code == 0


class Answering(OpenAIServer):
    """Answers the list of models with this."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.models = reply

    def reply(self, method: str, path: str, query: Mapping[str, str], headers: Any, body: bytes) -> Any:
        return self.models if path.endswith("/models") else super().reply(method, path, query, headers, body)


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (Reply("<html>the web console</html>"), ConfigError, "with a web page.*base_url.*Nothing was sent"),
        (Reply({"error": {"message": "Incorrect API key"}}, 401), JobStopped, "the key in THE_KEY is refused"),
        (Reply("", 308, {"Location": "https://elsewhere.test/v1/models"}), ConfigError, "redirect.*elsewhere"),
        (Reply({"data": [{"id": "gpt-6-luna", "shutdown_date": "2020-01-31"}]}), ConfigError, "ended gpt-6-luna"),
    ],
)
def test_what_would_fail_every_create_stops_a_run_before_an_upload(
    reply: Reply, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither money nor an upload; and the job is not in the ledger."""
    monkeypatch.setenv("THE_KEY", KEY)
    server = Answering(reply)
    with running(server) as url:
        with pytest.raises(kind, match=message):
            orchestrator.run(orchestrator.read_job(job_file(tmp_path, url.removesuffix("/v1"))))

        assert server.counts["uploads"] == server.counts["creates"] == 0
    assert orchestrator.jobs(work=tmp_path / "work") == []


class Lost(OneRouterServer):
    """Takes each create, and answers it with an error; `models` is the answer to the list of models."""

    models = Reply({"error": {"message": "not here"}}, 404)

    def create(self, wanted: Any) -> Any:
        super().create(wanted)
        return Reply("", 500)

    def reply(self, method: str, path: str, query: Mapping[str, str], headers: Any, body: bytes) -> Any:
        return self.models if path.endswith("/models") else super().reply(method, path, query, headers, body)


def test_a_job_whose_only_create_is_in_doubt_is_not_held_up_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sent something, though no batch is known."""
    monkeypatch.setenv("THE_KEY", KEY)
    server, stop = Lost(), threading.Event()
    with running(server) as url:
        job = replace(orchestrator.read_job(job_file(tmp_path, url.removesuffix("/v1"))), provider="onerouter")
        with pytest.raises(JobInterrupted):
            orchestrator.run(job, stop=stop, progress=lambda _: stop.set() if server.counts["creates"] else None)
        assert orchestrator.jobs(work=tmp_path / "work")[0].status().totals.batches == 0
        server.models = Reply("<html>the web console</html>")
        stop.clear()
        with pytest.raises(JobInterrupted):
            orchestrator.run(job, stop=stop, progress=lambda _: stop.set())


def test_a_job_that_has_sent_something_is_not_held_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished job is reported again, also where the provider would refuse a new one."""
    monkeypatch.setenv("THE_KEY", KEY)
    server = Answering(Reply({"error": {"message": "not here"}}, 404))
    with running(server) as url:
        job = orchestrator.read_job(job_file(tmp_path, url.removesuffix("/v1")))
        result = orchestrator.run(job)
        assert result.counts["succeeded"] == 20
        again = doctor(result.job_id, "--work", tmp_path / "work", "--json")
        assert levels(again)["job"] == "ok"
        assert levels(again)["address"] == "warning"  # there is no list of models
        server.models = Reply("<html>the web console</html>")
        assert orchestrator.run(job).counts["succeeded"] == 20
