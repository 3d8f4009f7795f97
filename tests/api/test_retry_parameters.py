"""`retry(parameters=…)`: rows are sent again with other parameters, checked by the dialect before anything is sent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

import orchestrator
from orchestrator import ConfigError, JobHandle, JobInterrupted, Result
from orchestrator.testing import Failure, FakeProvider, fake_provider
from tests.sums import sums

LONG: Final = "one two three four five six seven eight"
DOWN: Final = Failure(status=500, code="down", message="try again")


@dataclass(slots=True)
class Scene:
    """A provider that remembers the parameters it was asked with, and a work folder."""

    work: Path
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)  # how often a row fails, before it is answered
    fake: FakeProvider = field(init=False)

    def answer(self, body: dict[str, Any]) -> str | Failure:
        text = body["messages"][-1]["content"]
        self.asked.append((text, body["model"], body["max_tokens"]))
        if self.failures[text]:
            self.failures[text] -= 1
            return DOWN
        return LONG if text == "long" else "short"

    def run(self, *texts: str, **more: Any) -> Result:
        """Run a job of these rows with a limit of five words."""
        fields: dict[str, Any] = {"prompt": "{text}", "model": "any", "max_tokens": 5, **self.fake.options, **more}
        result = orchestrator.run(pa.table({"text": texts}), work=self.work, **fields)
        self.asked.clear()
        return result

    def handle(self, result: Result) -> JobHandle:
        return orchestrator.open_job(result.job_id, work=self.work)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path / "work")
    with fake_provider(found.answer) as found.fake:
        yield found


def answers(result: Result) -> list[str | None]:
    return result.to_arrow()["llm_response"].to_pylist()


def is_sound(scene: Scene, result: Result) -> bool:
    return not orchestrator.audit(result.job_id, work=scene.work, deep=True).differences


def test_rows_that_were_cut_off_are_sent_again_with_a_larger_limit(scene: Scene) -> None:
    """Those rows alone; and the answer is one to another request: no other job takes it for the planned one."""
    first = scene.run("short", "long")
    assert answers(first) == ["short", "one two three four five"]

    second = scene.handle(first).retry(rows="truncated", parameters={"max_tokens": 20})

    assert scene.asked == [("long", "any", 20)]
    assert [one.request and one.request["params"]["max_tokens"] for one in scene.handle(first).show(1).tries] == [
        None,
        20,
    ]
    assert (answers(second), second.flaws["truncated"], is_sound(scene, second)) == (["short", LONG], 0, True)
    assert answers(scene.run("long", "another")) == ["one two three four five", "short"]


@pytest.mark.slow
def test_another_model_has_its_own_price_and_is_asked_again_until_it_answers(scene: Scene) -> None:
    """A row that fails with the other parameters goes again with them; a later change comes on top."""
    first = scene.run("short", "long", policy={"retry_gather_s": 0.1})
    scene.failures["long"] = 1

    second = scene.handle(first).retry(rows="truncated", parameters={"model": "openai/gpt-6-luna-batch"})
    assert scene.asked == [("long", "openai/gpt-6-luna-batch", 5)] * 2
    assert second.to_arrow()["llm_cost_usd"].to_pylist()[1]
    assert is_sound(scene, second)
    scene.asked.clear()

    third = scene.handle(first).retry(rows="truncated", parameters={"max_tokens": 20})
    assert scene.asked == [("long", "openai/gpt-6-luna-batch", 20)]
    assert (answers(third)[1], is_sound(scene, third)) == (LONG, True)


@pytest.mark.slow
def test_the_parameters_of_an_interrupted_retry_survive_the_ledger(scene: Scene) -> None:
    handle = scene.handle(scene.run("short", "long"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(JobInterrupted):
        handle.retry(rows="truncated", parameters={"max_tokens": 20}, stop=stop)
    for path in scene.work.glob("ledger.db*"):
        path.unlink()
    orchestrator.recover(work=scene.work)

    result = handle.run()

    assert (scene.asked, answers(result)) == ([("long", "any", 20)], ["short", LONG])


REFUSED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"max_tokens": 0}, "max_tokens must be a whole number"),
    ({"max_token": 20}, "there is no parameter max_token; did you mean max_tokens"),
    ({"seed": 1}, "seed cannot be sent to any: .* have no such field"),
    ({"prompt": "{text}!"}, "prompt makes other requests, and so another job"),
    ({"stop_sequences": ["{text}"]}, "text is a placeholder"),
]


def test_parameters_that_cannot_be_are_refused_before_anything_is_sent(scene: Scene) -> None:
    first = scene.run("long")
    before = sums(scene.handle(first).status().as_dict())

    for parameters, words in REFUSED:
        with pytest.raises(ConfigError, match=words):
            scene.handle(first).retry(rows="truncated", parameters=parameters)

    assert (scene.asked, sums(scene.handle(first).status().as_dict())) == ([], before)


@pytest.mark.slow
def test_requests_of_a_function_are_changed_in_the_function(scene: Scene) -> None:
    def body(row: dict[str, Any]) -> dict[str, Any]:
        return {"model": "any", "prompt": row["text"], "max_tokens": 5}

    first = scene.run("long", render=body, prompt=None, max_tokens=None)

    with pytest.raises(ConfigError, match="made by a render function"):
        scene.handle(first).retry(rows="truncated", parameters={"max_tokens": 20})
