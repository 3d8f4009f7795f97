"""Tables that a program gives to a job."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator.api.result import frame_of
from orchestrator.testing import fake_provider
from tests.tiers import sampled

ROWS = [{"text": "a", "n": 1}, {"text": "b", "n": 2}]


@pytest.mark.parametrize("kind", ["generator", "reader"])
def test_what_can_be_read_once_is_planned_and_then_run(kind: str, tmp_path: Path) -> None:
    given = iter(ROWS) if kind == "reader" else (row for row in ROWS)
    if kind == "reader":
        given = pa.Table.from_pylist(ROWS).to_reader()
    fields = {"prompt": "{text}", "model": "m", "work": tmp_path}
    with fake_provider(lambda body: json.dumps(body)[-9:]) as fake:
        planned = orchestrator.plan(given, **fields, **fake.options)
        result = orchestrator.run(given, **fields, **fake.options)
        again = orchestrator.run(pl.DataFrame(ROWS), **fields, **fake.options)

    assert planned.rows == result.counts["rows"] == 2
    assert result.to_arrow().select(["text", "n", "llm_status"]).to_pylist() == [
        row | {"llm_status": "succeeded"} for row in ROWS
    ]
    assert again.job_id == result.job_id
    assert len(fake.requests) == 2


def test_an_iterator_that_was_read_elsewhere_is_no_dataset(tmp_path: Path) -> None:
    given = iter(())

    with fake_provider() as fake, pytest.raises(orchestrator.DatasetError, match="can be read only once"):
        orchestrator.run(given, prompt="{text}", model="m", work=tmp_path, **fake.options)

    assert fake.requests == []


@pytest.mark.parametrize("dialect", sampled(["onerouter", "openai", "anthropic"], quick={"openai"}))
def test_images_of_a_folder_and_of_a_column_are_sent(dialect: str, tmp_path: Path) -> None:
    """One run through each provider: files beside a CSV, and what a row lacks fails that row."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
    (tmp_path / "rows.csv").write_text("name,photo\na,photos/a.png\nb,photos/gone.png\n")
    fields = {"prompt": "{name}? {image:photo}", "model": "m", "max_tokens": 9, "work": tmp_path / "work"}
    with fake_provider(dialect=dialect) as fake:
        result = orchestrator.run(tmp_path / "rows.csv", **fields, **fake.options)

    assert result.to_arrow()["llm_status"].to_pylist() == ["succeeded", "failed"]
    assert result.failures()["llm_error_message"][0].as_py().startswith("column 'photo' names a file that is not in")
    assert "image" in json.dumps(fake.requests) and "iVBORw0KGgo" in json.dumps(fake.requests)


def test_rows_that_all_fail_alike_stop_the_job_before_it_is_made(tmp_path: Path) -> None:
    with fake_provider() as fake, pytest.raises(orchestrator.DatasetError, match="none of the first rows can be a re"):
        orchestrator.run([{"i": "gone.png"}] * 9, prompt="{image:i}", model="m", work=tmp_path, **fake.options)

    assert fake.requests == []


def test_a_column_of_conversations_is_sent_as_each_provider_has_them(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "brief"}, {"role": "user", "content": "q"}]
    fields = {"messages": "{chat}", "model": "m", "max_tokens": 9, "work": tmp_path}
    sent = {}
    for dialect in ("openai", "anthropic"):
        with fake_provider(dialect=dialect) as fake:
            assert orchestrator.run([{"chat": chat}], **fields, **fake.options).counts["succeeded"] == 1
        sent[dialect] = fake.requests[0]

    assert sent["openai"]["messages"] == chat
    assert (sent["anthropic"]["system"], sent["anthropic"]["messages"]) == ("brief", chat[1:])


def test_a_frame_comes_back_with_its_types(tmp_path: Path) -> None:
    """Periods and intervals, which are no types of Parquet; and what pyarrow cannot restore is no error."""
    frame = pd.DataFrame(
        {
            "text": ["a", "b"],
            "month": pd.PeriodIndex(["2024-01", None], freq="M"),
            "range": pd.interval_range(0, 2),
            "kind": pd.Categorical(["x", None]),
            "count": pd.array([2**60 + 1, None], dtype="Int64"),
            "hole": [1, 2],
        }
    )
    lists = frame.assign(tags=pd.array([["x"], None], dtype=pd.ArrowDtype(pa.list_(pa.string()))))
    fields = {"prompt": "{text}", "model": "m", "work": tmp_path}
    with fake_provider() as fake:
        same = orchestrator.run(frame, **fields, **fake.options).to_pandas()
        others = orchestrator.run(lists, name="lists", **fields, **fake.options).to_pandas()

    pd.testing.assert_frame_equal(same[list(frame)], frame)
    assert [None if one is None else list(one) for one in others["tags"]] == [["x"], None]
    assert others["count"].tolist()[0] == 2**60 + 1


def test_a_period_is_restored_where_its_type_is_not_registered() -> None:
    """As in a process that has not imported pandas' own types: there it is an integer with a note."""
    frame = pd.DataFrame({"month": pd.PeriodIndex(["2024-01", None], freq="M"), "n": pd.array([1, None], "Int64")})
    table = pa.Table.from_pandas(frame)
    table = table.set_column(0, pa.field("month", pa.int64()), pa.array([648, None]))

    pd.testing.assert_frame_equal(frame_of(table), frame)


def test_notes_of_a_file_are_in_the_output(tmp_path: Path) -> None:
    """As geoarrow, GeoParquet and Hugging Face write them, whether or not their libraries are here."""
    notes = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": '{"crs":"EPSG:4326"}'}
    inner = pa.struct([pa.field("at", pa.binary(), metadata=notes)])
    fields = [pa.field("t", pa.string()), pa.field("at", pa.binary(), metadata=notes), pa.field("in", inner)]
    kept = {"geo": '{"version":"1.1.0"}', "huggingface": '{"info":{}}'}
    schema = pa.schema(fields, metadata=kept | {"org.apache.spark.sql.parquet.row.metadata": "{}"})
    pq.write_table(pa.Table.from_pylist([{"t": "a", "at": b"x", "in": {"at": b"y"}}], schema), tmp_path / "x.parquet")
    with fake_provider() as fake:
        result = orchestrator.run(
            tmp_path / "x.parquet", prompt="{t}", model="m", work=tmp_path / "work", **fake.options
        )
    found = pq.read_schema(next(Path(result.path).glob("part-*.parquet")))

    for name in ("at", "in"):
        assert found.field(name).equals(schema.field(name), check_metadata=False)
    strip = {b"PARQUET:field_id"}
    assert {k: v for k, v in found.field("at").metadata.items() if k not in strip} == schema.field("at").metadata
    assert found.field("in").type.field(0).metadata.items() >= schema.field("at").metadata.items()
    assert found.metadata.items() >= {key.encode(): value.encode() for key, value in kept.items()}.items()
    assert b"org.apache.spark.sql.parquet.row.metadata" not in found.metadata
