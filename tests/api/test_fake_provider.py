"""`orchestrator.testing`: a fake provider in one line, for users' own tests."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchestrator
from orchestrator.testing import KEY_VARIABLE, Failure, fake_provider

FRAME = pd.DataFrame({"text": ["fine", "bad", "so so"]})


def mood(body: dict[str, Any]) -> str | Failure:
    """Answer with the prompt in capitals; refuse what is bad."""
    prompt = body["messages"][-1]["content"]
    return Failure(code="content_filter", message="no") if "bad" in prompt else prompt.upper()


def test_answers_of_the_tests_own_function_come_back_beside_their_rows(tmp_path: Path) -> None:
    with fake_provider(mood) as fake:
        result = orchestrator.run(FRAME, prompt="Mood: {text}", model="any", work=tmp_path, **fake.options)

    found = result.to_arrow()
    assert found["text"].to_pylist() == FRAME["text"].tolist()
    assert found["llm_response"].to_pylist() == ["MOOD: FINE", None, "MOOD: SO SO"]
    assert found["llm_error_code"].to_pylist() == [None, "content_filter", None]
    assert sorted(body["messages"][-1]["content"] for body in fake.requests) == [
        "Mood: bad",
        "Mood: fine",
        "Mood: so so",
    ]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_it_has_the_api_of_any_dialect(tmp_path: Path, dialect: str) -> None:
    """The body that the function gets is that provider's own."""
    with fake_provider(mood, dialect=dialect) as fake:
        asked: Any = {"prompt": "Mood: {text}", "system": "Be brief.", "max_tokens": 9, "model": "any"}
        result = orchestrator.run(FRAME, work=tmp_path, **asked, **fake.options)

    assert result.to_arrow()["llm_response"].to_pylist() == ["MOOD: FINE", None, "MOOD: SO SO"]
    assert all(("system" in body) == (dialect == "anthropic") for body in fake.requests)


def test_without_a_function_the_answer_begins_with_the_prompt(tmp_path: Path) -> None:
    with fake_provider() as fake:
        result = orchestrator.run(FRAME, prompt="{text}", model="any", work=tmp_path, **fake.options)

    assert result.to_pandas()["llm_response"].tolist() == [f"[simulated] {text}" for text in FRAME["text"]]


def test_what_the_function_raises_ends_the_block_and_not_the_job(tmp_path: Path) -> None:
    """A mistake in a test must not look like a failed row and pass."""

    def broken(_body: dict[str, Any]) -> str:
        raise KeyError("a mistake of the test")

    def run() -> None:
        with fake_provider(broken) as fake:
            result = orchestrator.run(FRAME, prompt="{text}", model="any", work=tmp_path, **fake.options)
            assert dict(result.errors()) == {"answer_raised": 3}

    with pytest.raises(KeyError, match="a mistake of the test"):
        run()


def test_the_key_is_in_the_environment_for_the_length_of_the_block_only() -> None:
    with fake_provider():
        assert os.environ[KEY_VARIABLE]

    assert KEY_VARIABLE not in os.environ


def test_a_job_runs_in_a_thread_of_an_event_loop(tmp_path: Path) -> None:
    """`await asyncio.to_thread(orchestrator.run, …)`: outside the main thread, while the loop goes on."""
    looks = 0

    async def main() -> orchestrator.Result:
        nonlocal looks
        job = asyncio.create_task(
            asyncio.to_thread(orchestrator.run, FRAME, prompt="{text}", model="any", work=tmp_path, **fake.options)
        )
        while not job.done():
            looks += 1
            await asyncio.wait([job], timeout=0.01)
        return await job

    with fake_provider() as fake:
        result = asyncio.run(main())

    assert result.counts == {"rows": 3, "succeeded": 3, "failed": 0}
    assert looks > 1


def test_progress_is_one_value_that_adds_up_at_the_end(tmp_path: Path) -> None:
    seen: list[orchestrator.Look] = []
    with fake_provider(mood) as fake:
        result = orchestrator.run(
            FRAME, prompt="{text}", model="any", work=tmp_path, progress=seen.append, **fake.options
        )

    last = seen[-1]
    assert (last.job_id, last.state, last.has_ended) == (result.job_id, "finished", True)
    assert (last.rows.total, last.rows.answered, last.rows.failed, last.rows.placed) == (3, 2, 1, 3)
    assert last.rows == result.status.look.rows
