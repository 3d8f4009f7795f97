"""`--rows` and `--keys`: kinds, codes, conditions and keys, in one language for `results` and `export`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import ConfigError, Result
from orchestrator.api.wanted_rows import codes_of, wanted_rows
from orchestrator.cli.main import app
from orchestrator.domain.causes import Cause
from orchestrator.testing import Failure, fake_provider

FRAME: Final = pd.DataFrame({"name": [f"k{row}" for row in range(8)], "score": [row / 10 for row in range(8)]})


def answer(body: dict[str, Any]) -> str | Failure:
    text = body["messages"][-1]["content"]
    if text == "k3":
        return Failure(status=400, code="bad", message="no")
    return {"k4": "", "k5": "maybe", "k6": "maybe"}.get(text, "yes")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Result, Path]]:
    work = tmp_path_factory.mktemp("work")
    with fake_provider(answer) as fake:
        given: dict[str, Any] = {"prompt": "{name}", "model": "any", "work": work, **fake.options}
        yield orchestrator.run(FRAME, dataset_options={"key": "name"}, **given), work


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ("failed", ["k3"]),
        ("failed, empty", ["k3", "k4"]),
        ("bad", ["k3"]),
        ("llm_response = 'maybe' AND score < 0.6", ["k5"]),
        ("empty, key:k7", ["k4", "k7"]),
        (["key:k0", "llm_response = 'maybe'"], ["k0", "k5", "k6"]),
        (None, [f"k{row}" for row in range(8)]),
    ],
)
def test_rows_are_named_by_kind_code_condition_and_key(
    scene: tuple[Result, Path], rows: str | list[str] | None, names: list[str]
) -> None:
    found = scene[0].iter_batches(kind=rows, columns=["name"])

    assert [name for batch in found for name in batch["name"].to_pylist()] == names


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            "trunkated",
            "give one of succeeded, failed, refused, truncated, empty, invalid; error codes of this job: bad",
        ),
        ("scor < 1", "there is no column 'scor'; did you mean score?"),
        ("key:k9", "no row 'k9': .* The column 'name' has no such value"),
    ],
)
def test_what_names_nothing_is_refused(scene: tuple[Result, Path], rows: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        list(scene[0].iter_batches(kind=rows))


def lines(*arguments: str, given: str | None = None) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, list(arguments), input=given)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_command_line_takes_keys_from_a_file(scene: tuple[Result, Path], tmp_path: Path) -> None:
    result, work = scene
    at = [result.job_id, "--work", str(work)]
    [third] = lines("results", *at, "--rows", "failed")
    (tmp_path / "keys.txt").write_text(f"k1\n\n {third['custom_id']}\n")

    assert [row["name"] for row in lines("results", *at, "--keys", str(tmp_path / "keys.txt"))] == ["k1", "k3"]
    assert [row["key"] for row in lines("results", *at, "--keys", "-", "--answers", given="k2\n")] == ["k2"]
    handle = orchestrator.open_job(result.job_id, work=work)
    assert handle.export(tmp_path / "some.csv", keys=["k1"], kind="score > 0.6") == 2
    with pytest.raises(ConfigError, match="k99"):
        handle.export(tmp_path / "none.csv", keys=["k99"])
    assert not (tmp_path / "none.csv").exists()


def test_without_keys_a_number_names_a_row_of_the_dataset(tmp_path: Path) -> None:
    with fake_provider(answer) as fake:
        result = orchestrator.run(FRAME, prompt="{name}", model="any", work=tmp_path, **fake.options)
    at = [result.job_id, "--work", str(tmp_path)]

    assert [row["name"] for row in lines("results", *at, "--rows", "key:7", "--rows", "key:0/2")] == ["k2", "k7"]
    done = CliRunner().invoke(app, ["results", *at, "--rows", "key:8"])
    assert "there is no row 8" in str(done.exception)


@pytest.mark.parametrize("counted", ["cancelled", "other"])
def test_where_the_ledger_does_not_know_all_codes_any_code_can_be_named(counted: str) -> None:
    """A row that waited to be sent again when its job was cancelled keeps the code that it failed with."""
    known = codes_of([Cause(counted, 2), Cause("missing", 1)])

    assert wanted_rows("batch_failed", codes=known).codes == {"batch_failed"}
    with pytest.raises(ConfigError, match="there is no kind of rows 'batch_failed'"):
        wanted_rows("batch_failed", codes=codes_of([Cause("missing", 1)]))
