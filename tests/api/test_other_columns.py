"""`[output]` of a job that has ended: the output is written again under its new names, and nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import ConfigError, Result
from orchestrator.testing import Failure, FakeProvider, fake_provider

FRAME: Final = pd.DataFrame({"text": ["one", "two", "bad"]})


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    def answer(body: dict[str, Any]) -> str | Failure:
        text = body["messages"][-1]["content"]
        return Failure() if text == "bad" else text.upper()

    with fake_provider(answer) as running:
        yield running


def run(fake: FakeProvider, work: Path, **output: Any) -> Result:
    return orchestrator.run(FRAME, prompt="{text}", model="m", work=work, output_options=output, **fake.options)


def test_other_column_names_are_written_from_the_answers_that_are_there(fake: FakeProvider, tmp_path: Path) -> None:
    """Each change is a revision; the earlier ones stay as they were."""
    first = run(fake, tmp_path)
    renamed = run(fake, tmp_path, prefix="m_", custom_id="key")
    again = run(fake, tmp_path, prefix="m_", custom_id="key")

    assert len(fake.requests) == 3
    assert first.path != renamed.path == again.path
    assert renamed.to_arrow()["m_response"].to_pylist() == ["ONE", "TWO", None]
    assert {"key", "m_status"} <= set(renamed.to_arrow().column_names)
    assert renamed.counts == {"rows": 3, "succeeded": 2, "failed": 1}
    assert len(renamed.failures()) == 1
    assert Path(first.path).is_dir()
    assert not orchestrator.audit(renamed.job_id, work=tmp_path, deep=True).differences


def test_the_providers_json_cannot_be_added_once_answers_are_collected_without_it(
    fake: FakeProvider, tmp_path: Path
) -> None:
    run(fake, tmp_path)

    with pytest.raises(ConfigError, match=r"output\.raw was false when answers .* leave output\.raw as it was"):
        run(fake, tmp_path, raw=True)

    assert run(fake, tmp_path).counts["rows"] == 3
