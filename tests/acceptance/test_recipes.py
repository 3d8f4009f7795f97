"""docs/recipes.md: every block is run, as it stands, against the gateway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import orchestrator
from orchestrator.testing import FakeProvider, fake_provider
from tests.gateway_process import ROOT

PAGE: Final = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
SECTION: Final = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: Final = {name: BLOCK.findall(text) for name, text in SECTION.findall(PAGE)}
ROWS: Final = 30
BAD: Final = 12  # two of every five rows have at most two stars
BY_HAND: Final = "Spark"  # it needs Java


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recipe has a folder of its own, with the table in it."""
    numbers = range(ROWS)
    stars = [number % 5 + 1 for number in numbers]
    table = pa.table({"id": list(numbers), "stars": stars, "text": [f"review {number}" for number in numbers]})
    pq.write_table(table, tmp_path / "reviews.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """A provider that every run of a recipe is sent to."""
    real = orchestrator.run
    with fake_provider(lambda _body: "late delivery") as running:

        def run(*given: Any, **named: Any) -> orchestrator.Result:
            return real(*given, **named, **running.options)

        monkeypatch.setattr(orchestrator, "run", run)
        yield running


def done(recipe: str) -> dict[str, Any]:
    """Run the Python of a recipe; return its variables."""
    variables: dict[str, Any] = {"__name__": recipe}
    [code] = [code for language, code in BLOCKS[recipe] if language == "python"]
    exec(compile(code, f"docs/recipes.md: {recipe}", "exec"), variables)
    return variables


def test_every_recipe_with_python_is_run_here() -> None:
    with_python = {name for name, blocks in BLOCKS.items() if any(language == "python" for language, _ in blocks)}

    assert with_python == {"pandas", "polars", "DuckDB", "Hugging Face datasets", BY_HAND}


def test_pandas(fake: FakeProvider) -> None:
    merged = done("pandas")["merged"]

    assert len(merged) == ROWS
    assert merged["llm_response"].notna().sum() == BAD == len(fake.requests)


def test_polars(fake: FakeProvider) -> None:
    assert done("polars")["top"].rows() == [("late delivery", BAD)]
    assert len(fake.requests) == BAD


def test_duckdb(fake: FakeProvider) -> None:
    shop = done("DuckDB")["shop"]

    assert shop.sql("select count(*), any_value(llm_response) from complaints").fetchall() == [(BAD, "late delivery")]
    assert len(fake.requests) == BAD


@pytest.mark.slow  # `datasets` takes seconds to import
def test_hugging_face_datasets(fake: FakeProvider) -> None:
    train = done("Hugging Face datasets")["train"]

    assert train.column_names[:3] == ["id", "stars", "text"]
    assert set(train["label"]) == {"late delivery"}
    assert len(train) == len(fake.requests) == 20


@pytest.mark.slow
def test_sql_and_dbt(tmp_path: Path) -> None:
    """The job file, the commands, the SQL, and the description of the source."""
    blocks = dict(BLOCKS["SQL and dbt"])
    with fake_provider(lambda _body: "good") as fake:
        options = fake.options["provider_options"]
        lines = [f"{name} = {value if isinstance(value, float) else repr(value)}" for name, value in options.items()]
        provider = "\n".join(['provider = "fake"', "[provider]", *lines]).replace("'", '"')
        job = blocks["toml"].replace("[job]\n", '[job]\nprovider = "fake"\n')
        (tmp_path / "mood.toml").write_text(job + provider.replace('provider = "fake"\n', ""))
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-euc", blocks["sh"]], cwd=tmp_path, env=os.environ | path, check=True)

    connection = duckdb.connect()
    create, count = blocks["sql"].split("\n\n")
    connection.sql(create)
    assert connection.sql(count).fetchall() == [("good", ROWS)]
    [source] = yaml.safe_load(blocks["yaml"])["sources"]
    assert (tmp_path / source["config"]["external_location"]).exists()
