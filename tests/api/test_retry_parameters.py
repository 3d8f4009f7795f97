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
from orchestrator.cli.audit_text import audit_text
from orchestrator.cli.trace_text import trace_text
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


@pytest.mark.slow
def test_rows_that_were_cut_off_are_sent_again_with_a_larger_limit(scene: Scene) -> None:
    """Those rows alone; and the answer is one to another request: no other job takes it for the planned one."""
    first = scene.run("short", "long")
    assert answers(first) == ["short", "one two three four five"]

    second = scene.handle(first).retry(rows="truncated", parameters={"max_tokens": 20})

    assert scene.asked == [("long", "any", 20)]
    shown = scene.handle(first).show(1)
    assert shown.request["params"]["max_tokens"] == 20, "the request of the answer that stands"
    assert [(one.revision, one.stands, one.request and one.request["params"]["max_tokens"]) for one in shown.tries] == [
        (1, False, 5),
        (2, True, None),
    ]
    untouched = scene.handle(first).show("key:0")
    assert [(one.revision, one.stands, one.request) for one in untouched.tries] == [(1, True, None)]
    assert "request, of revision 2, round 2\n" in trace_text(shown)
    assert "sent in chunk r00001, round 2, revision 2: collected\n" in trace_text(shown)
    assert (answers(second), second.flaws["truncated"], is_sound(scene, second)) == (["short", LONG], 0, True)
    audit = orchestrator.audit(second.job_id, work=scene.work)
    assert (audit.rows, audit.succeeded, audit.ledger.answers, audit.archive.answers) == (2, 2, 3, 3)
    assert "rows: 2, 2 succeeded, 0 failed; 1 answer replaced on request\n" in audit_text(audit)
    assert answers(scene.run("long", "another")) == ["one two three four five", "short"]


def test_the_request_of_an_answer_that_stands_is_shown_though_a_later_one_has_failed(scene: Scene) -> None:
    first = scene.run("long", policy={"retry_gather_s": 0, "attempts_max": 1})
    scene.failures["long"] = 9

    scene.handle(first).retry(rows="truncated", parameters={"max_tokens": 20})
    shown = scene.handle(first).show(0)

    assert shown.request["params"]["max_tokens"] == 5
    assert [(one.revision, one.stands, one.request and one.request["params"]["max_tokens"]) for one in shown.tries] == [
        (1, True, None),
        (2, False, 20),
    ]


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
    ({"stop_sequences": ["{text}"]}, "text is a column of the prompt"),
]


def test_parameters_that_cannot_be_are_refused_before_anything_is_sent(scene: Scene) -> None:
    first = scene.run("long")
    before = sums(scene.handle(first).status().as_dict())

    for parameters, words in REFUSED:
        with pytest.raises(ConfigError, match=words):
            scene.handle(first).retry(rows="truncated", parameters=parameters)

    assert (scene.asked, sums(scene.handle(first).status().as_dict())) == ([], before)


def test_braces_are_what_they_are_in_prompts_schemas_and_parameters(tmp_path: Path) -> None:
    """A template's are doubled, those of a schema and of `retry --set` are not: nothing is read twice."""
    year = {"type": "string", "pattern": "^[0-9]{4}$", "description": "a {year}, }} as it is"}
    schema = {"type": "object", "properties": {"year": year}, "required": ["year"], "additionalProperties": False}
    with fake_provider(lambda _: {"year": "1984"}, dialect="openai") as fake:
        given: dict[str, Any] = {"prompt": "Say {{x}} of {text} }}", "system": 'As {{"a": 1}}', "response": schema}
        stop = {"stop": ["}}", "{{text}}"]}
        job = orchestrator.Job(
            dataset={"text": ["{a}"]}, model="gpt-5-mini", parameters=stop, work=tmp_path, **given, **fake.options
        )
        result = orchestrator.run(job)
        handle = orchestrator.open_job(result.job_id, work=tmp_path)
        for other in (["}}"], ["}", "{4}", "{{"]):
            handle.retry(rows="llm_status = 'succeeded'", parameters={"stop": other})

    assert [body["stop"] for body in fake.requests] == [["}", "{text}"], ["}}"], ["}", "{4}", "{{"]]
    for body in fake.requests:
        assert [one["content"] for one in body["messages"]] == ['As {"a": 1}', "Say {x} of {a} }"]
        assert body["response_format"]["json_schema"]["schema"]["properties"]["year"] == year


def body(row: dict[str, Any]) -> dict[str, Any]:
    """Some rows in neutral fields, some in the provider's own."""
    if row["text"] == "long":
        return {"prompt": row["text"], "max_tokens": 5, "temperature": 1}
    return {"model": "other", "messages": [{"role": "user", "content": row["text"]}], "max_tokens": 5}


def rendered(scene: Scene, *texts: str, **more: Any) -> Result:
    return scene.run(*texts, render=body, prompt=None, max_tokens=None, **more)


def test_parameters_are_laid_over_what_a_function_renders(scene: Scene) -> None:
    """Each body keeps the rest; and the function's own request is still answered as it was."""
    first = rendered(scene, "short", "long", policy={"canary_rows": 0})
    assert answers(first) == ["short", "one two three four five"]

    second = scene.handle(first).retry(rows="truncated", parameters={"max_tokens": 20, "stop": ["{end}"]})

    assert scene.asked == [("long", "any", 20)]
    sent = scene.handle(first).show(1).request
    assert sent is not None
    assert list(sent["params"].items()) == [
        ("model", "any"),
        ("messages", [{"role": "user", "content": "long"}]),
        ("max_tokens", 20),
        ("temperature", 1),
        ("stop_sequences", ["{end}"]),
    ]
    assert (answers(second), second.flaws["truncated"], is_sound(scene, second)) == (["short", LONG], 0, True)
    assert answers(rendered(scene, "long", "another")) == ["one two three four five", "short"]


REFUSED_OF_A_FUNCTION: Final[list[tuple[dict[str, Any], str]]] = [
    ({"seed": 1}, "row 1 of shard 0: request.seed cannot be sent to any: .* have no such field"),
    ({"max_token": 20}, "did you mean max_tokens"),
    ({"max_tokens": 0}, "max_tokens must be a whole number"),
    ({"penalty": float("nan")}, "JSON cannot express"),
    ({"top_p": float("nan")}, "top_p must be a number"),
    ({"system": "be brief"}, "system makes other requests, and so another job: change it in the function"),
]


@pytest.mark.parametrize("rows", ["truncated", "llm_finish_reason = 'max_tokens' OR llm_response LIKE 'one two%'"])
def test_what_a_rendered_request_cannot_have_is_refused_before_anything_is_sent(scene: Scene, rows: str) -> None:
    first = rendered(scene, "short", "long")
    before = sums(scene.handle(first).status().as_dict())

    for parameters, words in REFUSED_OF_A_FUNCTION:
        with pytest.raises(ConfigError, match=words):
            scene.handle(first).retry(rows=rows, parameters=parameters)

    assert (scene.asked, sums(scene.handle(first).status().as_dict())) == ([], before)
    folder = scene.work / first.job_id
    assert not list(folder.rglob("selections/*"))


@pytest.mark.slow
def test_another_model_for_rendered_rows_has_its_price_and_goes_again_until_it_answers(scene: Scene) -> None:
    """A function may name the models of its rows; a later change comes on top of an earlier one."""
    first = rendered(scene, "short", "long", policy={"retry_gather_s": 0.1})
    scene.failures["long"] = 1

    handle = scene.handle(first)
    planned = handle.plan_retry(rows="truncated", parameters={"model": "openai/gpt-6-luna-batch"})
    second = handle.retry(rows="truncated", parameters={"model": "openai/gpt-6-luna-batch"})
    assert scene.asked == [("long", "openai/gpt-6-luna-batch", 5)] * 2
    cost = second.to_arrow()["llm_cost_usd"].to_pylist()[1]
    assert planned.cost_usd_max is not None
    assert 0 < cost <= planned.cost_usd_max
    assert is_sound(scene, second)
    scene.asked.clear()

    third = handle.retry(rows=["truncated", "llm_response = 'short'"], parameters={"max_tokens": 20})
    assert sorted(scene.asked) == [("long", "openai/gpt-6-luna-batch", 20), ("short", "other", 20)]
    assert (answers(third)[1], is_sound(scene, third)) == (LONG, True)


@pytest.mark.slow
def test_the_parameters_for_rendered_rows_survive_the_ledger(scene: Scene) -> None:
    handle = scene.handle(rendered(scene, "short", "long"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(JobInterrupted):
        handle.retry(rows="truncated", parameters={"max_tokens": 20}, stop=stop)
    for path in scene.work.glob("ledger.db*"):
        path.unlink()
    orchestrator.recover(work=scene.work)

    result = rendered(scene, "short", "long")

    assert (answers(result), is_sound(scene, result)) == (["short", LONG], True)
