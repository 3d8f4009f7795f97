"""`retry` of rows of which others make the same request: those that are chosen are sent, the others keep theirs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import JobHandle
from orchestrator.testing import Failure, fake_provider

DEDUPE: Final = {"dedupe": True, "attempts_max": 1}


def is_sound(handle: JobHandle, work: Path) -> bool:
    """Whether all adds up, also in a ledger that is made from the files."""
    found = orchestrator.audit(handle.job_id, work=work, deep=True)
    assert not found.differences, found.differences
    before = handle.status().totals
    for path in work.glob("ledger.db*"):
        path.unlink()
    orchestrator.recover(work=work)
    after = handle.status().totals
    return replace(before, waiting_since=None) == replace(after, waiting_since=None)


@pytest.mark.slow
def test_duplicates_are_sent_again_one_by_one_where_they_are_chosen(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> str | Failure:
        text = body["messages"][0]["content"]
        asked[text] += 1
        if text == "bad":
            return Failure(status=400, code="bad", message="no")
        return "one two three four five" if text == "long" else "x"

    frame = pd.DataFrame({"text": ["long", "a", "long", "bad", "a", "bad", "b"]})
    with fake_provider(answer) as fake:
        given: dict[str, Any] = {"prompt": "{text}", "model": "any", "max_tokens": 3, **fake.options}
        first = orchestrator.run(frame, work=tmp_path, policy=DEDUPE, **given)
        assert asked == {"long": 1, "a": 1, "bad": 1, "b": 1}
        handle = orchestrator.open_job(first.job_id, work=tmp_path)
        for rows, sent in (
            ("truncated", {"long": 2}),
            ("bad", {"bad": 2}),
            ("text = 'a'", {"a": 2}),
            ("failed", {"bad": 2}),
        ):
            asked.clear()
            last = handle.retry(rows=rows, parameters={"max_tokens": 20} if rows == "truncated" else None)
            assert (rows, asked, is_sound(handle, tmp_path)) == (rows, sent, True)

    assert last.to_arrow()["llm_response"].to_pylist()[:3] == [
        "one two three four five",
        "x",
        "one two three four five",
    ]
    assert (last.counts["failed"], last.flaws["truncated"]) == (2, 0)


@pytest.mark.slow
def test_typed_duplicates_are_sent_with_what_was_wrong(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][0]["content"].split()[0]
        asked[text] += 1
        is_told = len(body["messages"]) > 1
        return json.dumps({"mood": "good"}) if text == "a" or (is_told and text == "b") else "no JSON"

    frame = pd.DataFrame({"text": ["a", "b", "a", "b", "c"]})
    with fake_provider(answer) as fake:
        given: dict[str, Any] = {"prompt": "{text}\n", "model": "any", "response": {"mood": "string"}, **fake.options}
        first = orchestrator.run(frame, work=tmp_path, policy=DEDUPE, **given)
        assert (asked, first.counts["failed"]) == ({"a": 1, "b": 1, "c": 1}, 3)
        handle = orchestrator.open_job(first.job_id, work=tmp_path)
        asked.clear()
        last = handle.retry(rows="invalid")

    assert (asked, last.counts["failed"], is_sound(handle, tmp_path)) == ({"b": 2, "c": 1}, 1, True)
