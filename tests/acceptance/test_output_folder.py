"""Where the output goes belongs to one job: another's answers never pass for its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import ConfigError, Result
from tests.acceptance.datasets import MODEL, QUICK, marked, read_output
from tests.gateway_process import GatewayProcess

pytestmark = pytest.mark.usefixtures("key")


def run(gateway: GatewayProcess, work: Path, **fields: Any) -> Result:
    options = {"base_url": gateway.url, **QUICK}
    return orchestrator.run(marked(4), model=MODEL, work=work, provider_options=options, **fields)


def test_an_output_folder_of_another_job_is_refused_before_anything_is_sent(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    output = tmp_path / "answers"
    first = run(gateway, tmp_path / "work", prompt="{text}", output=output)
    sent = gateway.bill()["creates"]

    with pytest.raises(ConfigError, match=rf"holds the output of job {first.job_id}"):
        run(gateway, tmp_path / "work", prompt="Again: {text}", output=output)
    assert gateway.bill()["creates"] == sent
    assert read_output(first.path).num_rows == 4


def test_a_folder_with_files_of_the_users_own_is_refused(gateway: GatewayProcess, tmp_path: Path) -> None:
    output = tmp_path / "answers"
    output.mkdir()
    pq.write_table(marked(1), output / "part-00000.parquet")

    with pytest.raises(ConfigError, match="holds files already"):
        run(gateway, tmp_path / "work", prompt="{text}", output=output)
    assert gateway.bill()["creates"] == 0


def test_the_output_of_a_job_stays_where_it_was_opened(gateway: GatewayProcess, tmp_path: Path) -> None:
    run(gateway, tmp_path / "work", prompt="{text}", output=tmp_path / "one")

    with pytest.raises(ConfigError, match="was opened with another output"):
        run(gateway, tmp_path / "work", prompt="{text}", output=tmp_path / "two")


def test_the_folder_of_an_output_is_read_as_it_is_by_any_reader(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Whatever else is in it is empty: polars refuses a folder of several kinds of files, but for empty ones."""
    output = tmp_path / "answers"
    result = run(gateway, tmp_path / "work", prompt="{text}", output=output)
    texts = marked(4)["text"].to_pylist()

    assert pd.read_parquet(output)["text"].tolist() == texts
    assert pl.read_parquet(output)["text"].to_list() == texts
    assert pl.scan_parquet(output).select("text").collect()["text"].to_list() == texts
    assert [text for (text,) in duckdb.sql(f"SELECT text FROM read_parquet('{output}')").fetchall()] == texts
    assert result.to_polars()["text"].to_list() == texts
    assert result.to_duckdb().project("text").fetchall() == [(text,) for text in texts]
    assert [path.name for path in output.iterdir() if path.stat().st_size] == ["part-00000.parquet"]


def test_integers_with_nulls_stay_integers(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Above 2^53 a float is another number."""
    table = marked(2).append_column("big", pa.array([2**63 - 1, None]))
    options = {"base_url": gateway.url, **QUICK}
    result = orchestrator.run(table, prompt="{text}", model=MODEL, work=tmp_path / "work", provider_options=options)

    frame = result.to_pandas()

    assert frame["big"].dtype == "Int64"
    assert frame["big"][0] == 2**63 - 1
    assert frame["llm_cost_usd"].dtype == "float64"
