"""Answers of all kinds in one batch, as public reports show them: what each row gets, and what the job says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import orchestrator
from tests.reports.play import play
from tests.reports.server import Object, OpenAIServer, Request, failed_line, text_for

CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "label", "arguments": '{"label": "good"}'}}


def choice(index: int = 0, finish_reason: str = "stop", **message: Any) -> Object:
    return {"index": index, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}


# By row; the others get their right answer.
CHOICES: Final[dict[int, list[Object]]] = {
    1: [choice(finish_reason="tool_calls", content=None, tool_calls=[CALL])],  # vercel/ai#19898
    2: [choice(finish_reason="length", content="so f")],
    3: [choice(content="")],
    4: [choice(content=None, refusal="I won't")],
    5: [{"index": 0, "finish_reason": "content_filter", "content_filter_results": {}}],  # no message at all
    6: [choice(finish_reason="content_filter")],  # a message without content: openai-php/client#198
    8: [choice(1, content="b"), choice(0, content="a")],  # two, though one was asked for
}
FILTERED_PROMPT: Final = 7  # stanford-crfm/helm#3327: 400 with the code content_filter


class Mixed(OpenAIServer):
    """Answers each row in its own way."""

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        if place == FILTERED_PROMPT:
            self.pay(request)
            return [failed_line(request.custom_id, 400, "The response was filtered", code="content_filter")]
        return super().answer(request, place)

    def completion(self, request: Request, **more: Any) -> Object:
        place = int(request.prompt.split()[-1].strip(">"))
        return super().completion(request, **({"choices": CHOICES[place]} if place in CHOICES else {}), **more)


def test_each_kind_of_answer_is_kept_named_and_paid_for_once(tmp_path: Path) -> None:
    """None is lost, bought again, or taken for another; a filter's nothing is one failure each."""
    seen = play(Mixed(), tmp_path, rows=10, chunk=10)

    assert (seen.error, set(seen.paid)) == (None, {1})
    assert [(row["llm_status"], row["llm_error_code"]) for row in seen.rows] == [
        ("succeeded", None),
        ("succeeded", None),
        ("succeeded", "truncated"),
        ("succeeded", "empty"),
        ("succeeded", "refused"),
        *[("failed", "content_filter")] * 3,
        ("succeeded", None),
        ("succeeded", None),
    ]
    assert json.loads(seen.rows[1]["llm_tool_calls"]) == [
        {"id": "call_1", "name": "label", "arguments": {"label": "good"}}
    ]
    responses = [row["llm_response"] for row in seen.rows]
    assert responses[1:5] == ["", "so f", "", "I won't"]
    assert [one["response"] for one in seen.rows[8]["llm_choices"]] == [responses[8], "b"] == ["a", "b"]
    assert responses[9] == text_for(seen.prompts[9])
    assert {name: seen.status[name] for name in ("succeeded", "failed", "truncated", "empty", "refused")} == {
        "succeeded": 7,
        "failed": 3,
        "truncated": 1,
        "empty": 1,
        "refused": 1,
    }
    assert "1 truncated; 1 empty; 1 refused" in seen.told
    [handle] = orchestrator.jobs(work=seen.work)
    assert orchestrator.audit(handle.job_id, work=seen.work, deep=True).is_clean


def test_a_cost_that_nobody_told_is_unknown_to_everyone(tmp_path: Path) -> None:
    """No price for the model, no fees from the provider: neither 0 in a column, nor in a report."""
    seen = play(Mixed(), tmp_path, rows=2, chunk=2, model="a-model-without-a-price")

    assert [row["llm_cost_usd"] for row in seen.rows] == [None, None]
    assert (seen.status["cost_usd"], seen.status["unpriced"], seen.status["reserved_usd"]) == (None, 2, "0.000000000")
    assert "money                     ?   USD spent" in seen.told
    assert "0.000000" not in seen.told
