"""One row from the source to its answer."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

import orchestrator
from orchestrator import ConfigError, JobHandle
from orchestrator.api.viewer import Viewer
from orchestrator.cli.main import app
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import Failure, FakeProvider, fake_provider
from orchestrator.web.access import Access
from orchestrator.web.app import make_app

TEXTS = ["alpha", "beta", "gamma"]
SECOND_TIME = "beta"  # fails once


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    asked = Counter[str]()

    def answer(body: dict[str, Any]) -> Any:
        text = body["messages"][-1]["content"]
        asked[text] += 1
        return Failure(status=500, code="busy") if text == SECOND_TIME and asked[text] == 1 else f"answer to {text}"

    with fake_provider(answer) as found:
        yield found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "rows.csv"
    path.write_text("id,text\n" + "".join(f"{number},{text}\n" for number, text in enumerate(TEXTS)))
    return path


@pytest.fixture(scope="module")
def handle(fake: FakeProvider, source: Path) -> JobHandle:
    """Return a job that has ended, one row of which was sent twice."""
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "{text}"}]
    result = orchestrator.run(
        source,
        messages=messages,
        model="any",
        work=source.parent / "work",
        policy={"retry_gather_s": 0},
        provider=fake.options["provider"],
        provider_options={
            **fake.options["provider_options"],
            "prices": {"any": {"input_usd": "1", "output_usd": "2"}},
        },
    )
    return orchestrator.open_job(result.job_id, work=source.parent / "work")


def test_a_row_is_traced_from_its_source_to_its_answer(handle: JobHandle) -> None:
    """Each time that it was sent: the chunk, its batches, the line that came back, and what was read of it."""
    found = handle.show(1)

    assert (found.shard, found.row, found.source, found.source_note) == (0, 1, {"id": "1", "text": "beta"}, "")
    assert found.request["params"]["messages"][-1] == {"role": "user", "content": "beta"}
    assert [one.round for one in found.tries] == [1, 2]
    first, second = found.tries
    assert first.outcome is not None and second.outcome is not None and found.answer is not None
    assert (first.outcome["succeeded"], first.outcome["error_code"]) == (False, "busy")
    assert second.outcome["text"] == found.answer["llm_response"] == "answer to beta"
    assert [len(one.batches) for one in found.tries] == [1, 1]
    assert second.batches[0].batch_id == found.answer["llm_batch_id"]
    [line] = second.lines.values()
    assert json.loads(line)["custom_id"] == found.custom_id
    assert found.price is not None
    assert all(text not in repr(found) + repr(second) for text in TEXTS)


@pytest.mark.parametrize("named", ["2", "0/2", "custom_id", "CUSTOM_ID"])
def test_a_row_is_named_by_its_number_its_place_or_its_id(handle: JobHandle, named: str) -> None:
    custom_id = f"{handle.job_id[-8:]}-0-2"
    spelled = {"custom_id": custom_id, "CUSTOM_ID": custom_id.upper()}.get(named, named)

    assert handle.show(spelled).source == {"id": "2", "text": "gamma"}


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("3", "has 3 rows, numbered from 0: there is no row 3"),
        ("0/3", "no row 3 of shard 0"),
        ("1/0", "no row 0 of shard 1"),
        ("00000000-0-1", "id of another job"),
        ("gamma", "no row 'gamma': give its custom_id"),
    ],
)
def test_a_row_that_is_not_there_is_an_error_that_says_how_to_name_one(
    handle: JobHandle, named: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        handle.show(named)


def test_the_command_prints_the_same(handle: JobHandle) -> None:
    done = CliRunner().invoke(app, ["show", handle.job_id, "1", "--work", handle.work])
    as_json = CliRunner().invoke(app, ["show", handle.job_id, "1", "--work", handle.work, "--json"])

    assert done.exit_code == 0, done.output
    assert not re.search(r"llm_cost_usd .*e-", done.stdout)  # an amount as people write it
    for told in ("  text  beta", "round 1: collected", "round 2: collected", "busy", "llm_response"):
        assert told in done.stdout
    assert json.loads(as_json.stdout) == handle.show(1).as_dict()


def test_a_source_that_has_changed_is_shown_as_such_and_a_lost_one_is_not_needed(
    handle: JobHandle, source: Path
) -> None:
    content = source.read_text()
    try:
        source.write_text(content.replace("beta", "BETA"))
        changed = orchestrator.open_job(handle.job_id, work=handle.work).show(1)
        source.unlink()
        lost = handle.show(1)
    finally:
        source.write_text(content)

    assert (changed.source, changed.source_note) == (
        {"id": "1", "text": "BETA"},
        "it has changed since: its request would be another now",
    )
    assert lost.source is None
    assert "does not exist" in lost.source_note
    assert lost.answer == handle.show(1).answer


def test_a_key_is_found_whatever_it_looks_like(tmp_path: Path, fake: FakeProvider) -> None:
    """A key may look like a place, and begin as the word that may stand before it."""
    table = {"text": ["a", "b", "c"], "id": ["0-2", "key:0", "0"]}
    job = orchestrator.Job(
        dataset=table, dataset_options={"key": "id"}, prompt="{text}", model="any", work=tmp_path, **fake.options
    )
    handle = orchestrator.open_job(orchestrator.run(job).job_id, work=tmp_path)

    for named, row in (("0-2", 0), ("key:0-2", 0), ("key:0", 1), ("key:key:0", 1), ("0", 2), ("key:0/1", 1)):
        assert handle.show(named).row == row, named
    with opened_workspace(str(tmp_path)) as workspace:
        page = make_app(Viewer(workspace), Access(hosts=frozenset(), token="t"))
        browser = TestClient(page, headers={"authorization": "Bearer t"})
        found = browser.get(f"/jobs/{handle.job_id}/rows", params={"find": "0-2"})
    assert "row 0 of shard 0" in found.text


def test_numbers_that_json_does_not_have_are_not_shown_as_null(tmp_path: Path, fake: FakeProvider) -> None:
    """They stand in the request, and null would be another value."""
    numbers = pa.table({"n": [math.inf, math.nan, 1.5, None], "deep": [[{"m": -math.inf}], [None], [], None]})
    result = orchestrator.run(
        numbers, prompt="{n}", model="any", name="n", work=tmp_path, policy={"null_policy": "empty"}, **fake.options
    )
    handle = orchestrator.open_job(result.job_id, work=tmp_path)
    rows = [handle.show(str(number)).source for number in range(4)]

    assert [one and one["n"] for one in rows] == ["inf", "nan", 1.5, None]
    assert [one and one["deep"] for one in rows] == [[{"m": "-inf"}], [None], [], None]


def test_a_row_that_is_not_answered_yet_has_no_answer(source: Path, fake: FakeProvider) -> None:
    job = orchestrator.Job(dataset=source, prompt="{text}", model="any", work=source.parent / "waiting", **fake.options)
    handle = orchestrator.submit(job)

    with pytest.raises(ConfigError, match="has 0 rows so far"):
        handle.show(0)
