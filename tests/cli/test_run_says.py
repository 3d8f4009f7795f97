"""What `run` says and asks: a cost to confirm, a job of its name, an interrupt, the guarantee; in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.api.job import read_job
from orchestrator.api.run_events import RunEvents
from orchestrator.cli import asking
from orchestrator.cli.main import ended
from orchestrator.testing import KEY_VARIABLE, FakeProvider, fake_provider
from tests.acceptance.datasets import write_job

PRICES = {"gpt-4o-mini-batch": {"input_usd": "1", "output_usd": "1"}}
GUARANTEE = "no batch is paid for twice unless"


@dataclass(slots=True)
class Answers:
    """Answers every row; something may happen beside the first answer after it was asked for."""

    once: list[Callable[[], Any]] = field(default_factory=list)

    def __call__(self, _body: dict[str, Any]) -> str:
        if self.once:
            self.once.pop()()
        return "yes"


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def fake(answers: Answers) -> Iterator[FakeProvider]:
    with fake_provider(answers) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    said: str


@dataclass(slots=True)
class Scene:
    """A folder with a job file; commands run there."""

    fake: FakeProvider
    capsys: pytest.CaptureFixture[str]

    def write(self, name: str = "mood", *, prompt: str = "{text}", dataset: str = "rows.csv", **policy: Any) -> None:
        provider = {"api_key_env": KEY_VARIABLE, "prices": PRICES, "poll_s_min": 0.1, "poll_s_max": 0.1}
        request = {"prompt": prompt, "max_tokens": 100}
        write_job(Path(f"{name}.toml"), dataset, self.fake.url, provider=provider, request=request, policy=policy)

    def run(self, *arguments: str) -> Ended:
        self.fake.requests.clear()
        code = ended(["run", "mood.toml", *arguments])
        captured = self.capsys.readouterr()
        return Ended(code, captured.out, captured.err.replace("\n  ", " "))

    @property
    def job_count(self) -> int:
        return len(orchestrator.jobs(work=".orchestrator")) if Path(".orchestrator").exists() else 0


@pytest.fixture
def scene(
    fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Scene:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text\na\nb\n")
    return Scene(fake, capsys)


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a person at a terminal who types this."""

    def typed(text: str) -> None:
        monkeypatch.setattr(asking, "is_terminal", lambda: True)
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return typed


def test_a_cost_above_the_limit_is_asked_about_once(scene: Scene, types: Callable[[str], None]) -> None:
    """No begins nothing; a job that is known is not asked about again."""
    scene.write(confirm_usd="0.0001")
    types("n\n")
    refused = scene.run()
    assert (refused.code, scene.job_count, scene.fake.requests) == (1, 0, [])
    assert "2 requests, about " in refused.said
    assert "It may cost more than policy.confirm_usd (0.0001 USD). Go on?" in refused.said
    assert refused.said.endswith("nothing was done\n")

    types("y\n")
    assert (scene.run().code, len(scene.fake.requests)) == (0, 2)
    types("")
    assert "Go on?" not in scene.run().said


@pytest.mark.parametrize(
    ("policy", "more", "is_at_terminal"),
    [
        ({"confirm_usd": "1"}, (), True),
        ({"confirm_usd": "0.0001", "budget_usd": "0.0001"}, (), True),
        ({"confirm_usd": "0.0001"}, ("--yes",), True),
        ({"confirm_usd": "0.0001"}, (), False),
    ],
)
def test_nothing_is_asked_where_it_is_bounded_or_nobody_is_there(
    scene: Scene, types: Callable[[str], None], policy: dict[str, str], more: tuple[str, ...], is_at_terminal: bool
) -> None:
    scene.write(**policy)
    if is_at_terminal:
        types("")

    found = scene.run(*more)

    assert "Go on?" not in found.said
    assert scene.job_count == 1


def test_an_unfinished_job_of_the_name_is_a_question_at_a_terminal_and_else_an_error(
    scene: Scene, types: Callable[[str], None]
) -> None:
    scene.write(budget_usd="0.00000001")
    assert scene.run().code == 3
    scene.write(prompt="Mood of {text}")

    found = scene.run()

    assert (found.code, found.out, scene.job_count) == (2, "", 1)
    assert "would be another job than mood-" in found.said
    assert "What differs:" in found.said
    assert "request.messages" in found.said
    assert "to run the new one beside it:" in found.said
    assert "--alongside" in found.said
    types("n\n")
    assert (scene.run().code, scene.job_count) == (1, 1)
    types("y\n")
    beside = scene.run()
    assert "Run the new one beside it?" in beside.said
    assert (beside.code, scene.job_count, len(scene.fake.requests)) == (0, 2, 2)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_says_what_is_finished_first_and_how_to_go_on(scene: Scene, answers: Answers) -> None:
    scene.write(chunk_requests_max=1, batches_in_flight_max=1)
    answers.once.append(interrupt)

    found = scene.run()

    assert (found.code, found.out) == (130, "")
    assert "un it again to resume" in found.said
    assert (scene.run().code, len(scene.fake.requests)) == (0, 1)


def test_the_events_of_a_run_that_is_cut_end_with_the_error(scene: Scene, answers: Answers) -> None:
    """Each line is whole, and what happened before the end is told."""
    scene.write(chunk_requests_max=1, batches_in_flight_max=1)
    answers.once.append(interrupt)

    found = scene.run("--events")

    *events, last = map(json.loads, found.out.splitlines())
    assert found.code == last["exit_code"] == 130
    assert last["schema"] == "orchestrator.error/1"
    names = [one["event"] for one in events]
    assert names[:2] == ["run.started", "job.opened"]
    assert "chunk.submitted" in names
    assert "job.finished" not in names


def test_what_happened_after_the_last_look_is_told_when_the_run_breaks_off(scene: Scene) -> None:
    """An error ends a run between two looks; what the ledger has of it by then is told all the same."""
    scene.write()
    handle = orchestrator.submit(read_job(Path("mood.toml")))
    told = list[str]()

    with suppress(RuntimeError), RunEvents(handle.job_id, handle.work, lambda one: told.append(one.event)) as run:
        run.look(handle.status().look)
        assert "job.paused" not in told
        handle.pause()
        raise RuntimeError("a step has an error that nobody expected")

    assert told[-1] == "job.paused"


def test_no_guarantee_is_said_where_nothing_will_be_sent(scene: Scene) -> None:
    """Every row of the second job has an answer already."""
    scene.write()
    scene.run()
    Path("less.csv").write_text("text\nb\n")
    scene.write(dataset="less.csv")

    found = scene.run()

    assert (found.code, scene.fake.requests, scene.job_count) == (0, [], 2)
    assert GUARANTEE not in found.said
