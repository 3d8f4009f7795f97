"""A job whose rows a function renders: changed code and changed requests never get old answers."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import ConfigError, Job, Result
from orchestrator.api.commands import identify
from orchestrator.testing import FakeProvider, fake_provider

FRAME: Final = pd.DataFrame({"text": [f"row {number}" for number in range(120)]})
MODULE: Final = """
from pathlib import Path
ASK = "Mood of"
HERE = Path({place!r})
def render(row):
    return {{"prompt": f"{{ASK}}: {{row['text']}}{{HERE.read_text()}}"}}
"""


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with fake_provider(lambda body: body["messages"][-1]["content"]) as running:
        yield running


def run(fake: FakeProvider, work: Path, **fields: Any) -> Result:
    return orchestrator.run(fields.pop("frame", FRAME), model="any", work=work, **fields, **fake.options)


def first(result: Result) -> str:
    answer: str = result.head(1)["llm_response"][0].as_py()
    return answer


def test_a_global_that_has_changed_gives_new_answers(fake: FakeProvider, tmp_path: Path) -> None:
    names: dict[str, Any] = {"ASK": "Mood of"}
    exec("def render(row): return {'prompt': ASK + row['text']}", names)

    before, again = (run(fake, tmp_path, render=names["render"], frame=FRAME[:2]) for _ in range(2))
    names["ASK"] = "Topic of"
    after = run(fake, tmp_path, render=names["render"], frame=FRAME[:2])

    assert before.job_id == again.job_id != after.job_id
    assert len(fake.requests) == 4
    assert (first(before), first(after)) == ("Mood ofrow 0", "Topic ofrow 0")


def identified(work: Path, **fields: Any) -> str:
    return identify(Job(dataset=FRAME, model="any", work=work, **fields))


def test_a_file_that_the_function_reads_is_seen_by_what_it_renders(tmp_path: Path) -> None:
    """Its code and its values are the same; the sample is not."""
    (tmp_path / "tail").write_text("!")

    def render(row: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": row["text"] + (tmp_path / "tail").read_text()}

    before = identified(tmp_path, render=render)
    (tmp_path / "tail").write_text("?")

    assert identified(tmp_path, render=render) != before


def test_a_function_that_renders_a_row_differently_each_time_is_refused(tmp_path: Path) -> None:
    """Row 99 is the last that is looked at."""

    def render(row: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": row["text"] + (str(random.random()) if row["text"] == "row 99" else "")}

    with pytest.raises(ConfigError, match="render gives two different requests for row 99"):
        identified(tmp_path, render=render)


def test_a_function_that_changes_its_own_values_needs_a_version(tmp_path: Path) -> None:
    """In the next process it would look like another function, and all rows would be paid for again."""
    calls: list[str] = []

    def render(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["text"])
        return {"prompt": row["text"]}

    with pytest.raises(ConfigError, match=r"render changes a value that it uses .*render_version"):
        identified(tmp_path, render=render)
    one, again, two = (identified(tmp_path, render=render, render_version=version) for version in "112")

    assert one == again != two


def test_a_version_stands_for_code_and_not_for_what_it_renders(tmp_path: Path) -> None:
    """Whoever forgets to change it is given new answers all the same, where the first rows show the change."""
    one = identified(tmp_path, render=lambda row: {"prompt": row["text"]}, render_version="1")
    same = identified(tmp_path, render=lambda row: {"prompt": "".join(row["text"])}, render_version="1")
    other = identified(tmp_path, render=lambda row: {"prompt": row["text"] + "!"}, render_version="1")

    assert one == same != other


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Mood of", "Topic of", r"started with: render_here\.ASK \w+ -> \w+\. Install the same version"),
        ("", "!", "gives other requests for the first rows than when the job was started"),
    ],
)
def test_a_job_that_is_resumed_by_its_id_checks_its_function_again(
    fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, told: str
) -> None:
    """A worker, and `JobHandle.resume`, import it: that may be another version, or read another file."""
    (tmp_path / "tail").write_text("")
    module = tmp_path / "render_here.py"
    module.write_text(MODULE.format(place=str(tmp_path / "tail")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("render_here", None)
    result = run(fake, tmp_path / "work", render="render_here:render", frame=FRAME[:2])
    handle = orchestrator.open_job(result.job_id, work=tmp_path / "work")
    del sys.modules["render_here"]
    (tmp_path / "tail").write_text("" if old else new)
    module.write_text(module.read_text().replace(old, new) if old else module.read_text())

    with pytest.raises(ConfigError, match=told):
        handle.run()
