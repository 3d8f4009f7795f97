"""One call from Python: a table in, the same table with answers out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import zstandard

import orchestrator
from orchestrator import Job, Result, open_job
from tests.acceptance.datasets import MODEL, QUICK, RESULT_COLUMNS, check_exact, mark, marked, read_output
from tests.gateway_process import GatewayProcess, running_gateway
from tests.tiers import sampled

pytestmark = pytest.mark.usefixtures("key")
ROWS: Final = 30


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One gateway for all: jobs differ by their work folders and their datasets."""
    with running_gateway(tmp_path_factory.mktemp("provider"), "--duration-s", "0") as running:
        yield running


@pytest.fixture
def run(provider: GatewayProcess, tmp_path: Path) -> Callable[..., Result]:
    """`orchestrator.run` with what every test says."""

    def with_defaults(dataset: Any, **fields: Any) -> Result:
        fields = {"model": MODEL, "work": tmp_path / "work"} | fields
        if not fields.keys() & {"messages", "render"}:
            fields.setdefault("prompt", "{text}")
        return orchestrator.run(dataset, provider_options={"base_url": provider.url, **QUICK}, **fields)

    return with_defaults


def sent(provider: GatewayProcess, result: Result) -> list[dict[str, Any]]:
    """Return the requests of a job as the provider received them, in source order."""
    ids = set(result.to_arrow()["custom_id"].to_pylist())
    rows = [
        row
        for path in (provider.state / "requests").glob("*.json")
        for row in json.loads(path.read_text())["requests"]
        if row["custom_id"] in ids
    ]
    return sorted(rows, key=lambda row: int(row["custom_id"].rpartition("-")[2], 16))


def test_a_data_frame_comes_back_with_answers_its_types_and_its_order(run: Callable[..., Result]) -> None:
    """Types that pandas has and files have not are kept, too; so is an index with a name."""
    frame = pd.DataFrame(
        {
            "number": pd.array([3, 1, None], dtype="Int64"),
            "text": [f"{mark(3)} b", f"{mark(1)} a", f"{mark(2)} c"],
            "when": pd.to_datetime(["2026-01-03", "2026-01-01", "2026-01-02"], utc=True),
            "kind": pd.Categorical(["x", "y", "x"]),
            "share": pd.array([0.5, 0.25, 1.0], dtype="float32"),
        }
    )

    out = run(frame).to_pandas()

    pd.testing.assert_frame_equal(out[list(frame.columns)], frame)
    assert list(out.columns) == [*frame.columns, *RESULT_COLUMNS]
    assert [said.split()[1] for said in out["llm_response"]] == [mark(3), mark(1), mark(2)]


@pytest.mark.parametrize("make", [marked, lambda rows: pads.dataset(marked(rows))], ids=["table", "dataset"])
def test_arrow_goes_in_as_it_is(make: Callable[[int], Any], run: Callable[..., Result]) -> None:
    """A Table and a Dataset give what the same rows in a file give."""
    check_exact(run(make(ROWS)).to_arrow(), marked(ROWS))


def write_csv(folder: Path) -> str:
    pacsv.write_csv(marked(ROWS), folder / "rows.csv")
    return str(folder / "rows.csv")


def write_csv_gz(folder: Path) -> str:
    plain = Path(write_csv(folder))
    (folder / "rows.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    return str(folder / "rows.csv.gz")


def json_lines() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in marked(ROWS).to_pylist()).encode()


def write_jsonl(folder: Path) -> str:
    (folder / "rows.jsonl").write_bytes(json_lines())
    return str(folder / "rows.jsonl")


def write_jsonl_zst(folder: Path) -> str:
    (folder / "rows.jsonl.zst").write_bytes(zstandard.compress(json_lines()))
    return str(folder / "rows.jsonl.zst")


def write_glob(folder: Path) -> str:
    for number in range(3):
        pq.write_table(marked(ROWS).slice(number * 10, 10), folder / f"rows-{number}.parquet")
    return str(folder / "rows-*.parquet")


def write_folder(folder: Path) -> str:
    write_glob(folder)
    return str(folder)


@pytest.mark.parametrize(
    "write",
    sampled([write_csv_gz, write_jsonl_zst, write_folder], quick={"write_csv_gz"}, name=lambda f: str(f.__name__)),
)
def test_every_kind_of_file_is_read(write: Callable[[Path], str], run: Callable[..., Result], tmp_path: Path) -> None:
    """By the ends of their names, compressed or not, one or many."""
    folder = tmp_path / "data"
    folder.mkdir()

    output = read_output(run(write(folder)).path)

    if "csv" in write.__name__:  # has texts only: what looks like a number may be a code with zeros in front
        assert set(output.select(["number", "text"]).schema.types) == {pa.string()}
        output = output.set_column(0, "number", output["number"].cast(pa.int64()))
    check_exact(output, marked(ROWS))


def test_a_partitioned_folder_keeps_its_partition_column(run: Callable[..., Result], tmp_path: Path) -> None:
    """What stands in the folders' names is a column, and can be used in the prompt."""
    for year in (2025, 2026):
        (tmp_path / "data" / f"year={year}").mkdir(parents=True)
        pq.write_table(marked(10), tmp_path / "data" / f"year={year}" / "rows.parquet")

    out = run(str(tmp_path / "data"), prompt="{year} {text}").to_arrow()

    assert [int(year) for year in out["year"].to_pylist()] == [2025] * 10 + [2026] * 10
    assert [said.split()[1:3] for said in out["llm_response"].to_pylist()] == [
        [str(year), mark(row)] for year in (2025, 2026) for row in range(10)
    ]


@pytest.mark.parametrize("kind", ["frame", "parquet", "csv"])
def test_an_empty_dataset_gives_an_empty_output_with_all_columns(
    kind: str, run: Callable[..., Result], provider: GatewayProcess, tmp_path: Path
) -> None:
    """No row is no error, and nothing is sent for it."""
    before = len(provider.batches())
    empty = marked(3).slice(0, 0)
    dataset: Any = {"frame": empty.to_pandas(), "parquet": tmp_path / "no.parquet", "csv": tmp_path / "no.csv"}[kind]
    pq.write_table(empty, tmp_path / "no.parquet")
    pacsv.write_csv(empty, tmp_path / "no.csv")

    result = run(dataset)

    assert result.to_arrow().column_names == ["number", "text", *RESULT_COLUMNS]
    assert result.counts == {"rows": 0, "succeeded": 0, "failed": 0}
    assert len(result.to_pandas()) == 0
    assert len(provider.batches()) == before


def test_messages_and_placeholders_in_parameters_reach_the_provider(
    run: Callable[..., Result], provider: GatewayProcess
) -> None:
    """What is received is what the template says, row by row."""
    result = run(
        marked(3),
        messages=[{"role": "assistant", "content": "row {number}"}, {"role": "user", "content": "{text}"}],
        system="You are {number} {{literally}}",
        metadata={"row": "{number}"},
        max_tokens=7,
        temperature=0.5,
    )

    params = [row["params"] for row in sent(provider, result)]
    assert [one["metadata"] for one in params] == [{"row": "0"}, {"row": "1"}, {"row": "2"}]
    assert params[2]["system"] == "You are 2 {literally}"
    assert params[2]["messages"] == [
        {"role": "assistant", "content": "row 2"},
        {"role": "user", "content": marked(3)["text"][2].as_py()},
    ]
    assert (params[0]["max_tokens"], params[0]["temperature"], params[0]["model"]) == (7, 0.5, MODEL)


def test_a_function_may_make_the_requests(provider: GatewayProcess, tmp_path: Path) -> None:
    """It gets a row as a dict, and returns the body."""

    def body(row: dict[str, Any]) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": f"{row['text']} {row['number']}"}]}

    options = {"base_url": provider.url, **QUICK}
    job = Job(dataset=marked(ROWS), model=MODEL, render=body, provider_options=options, work=tmp_path / "work")

    check_exact(orchestrator.run(job).to_arrow(), marked(ROWS))


def test_the_same_job_is_answered_at_once_and_another_prompt_is_another_job(
    run: Callable[..., Result], provider: GatewayProcess
) -> None:
    """A second run sends nothing; how a job is run does not change which job it is."""
    first = run(marked(ROWS))
    count = len(provider.batches())

    again = run(marked(ROWS), policy={"chunk_requests_max": 7})
    other = run(marked(ROWS), prompt="Again: {text}")

    assert again.job_id == first.job_id
    assert again.to_arrow().equals(first.to_arrow())
    assert other.job_id != first.job_id
    assert len(provider.batches()) == count + 1


def test_two_jobs_that_ask_the_same_pay_each_for_its_own(run: Callable[..., Result], provider: GatewayProcess) -> None:
    """Their rows have other ids at the provider: its bill tells them apart, and so does whoever reads their results."""
    before = provider.bill()
    results = [run(marked(ROWS), name=name, prompt="Once more: {text}") for name in ("one", "two")]
    after = provider.bill()

    assert after["answers"] - before["answers"] == 2 * ROWS
    assert after["paid_twice"] == before["paid_twice"]
    ids = [set(result.to_arrow()["custom_id"].to_pylist()) for result in results]
    assert not ids[0] & ids[1]


def test_money_counts_and_failures_are_the_providers_own(gateway: GatewayProcess, tmp_path: Path) -> None:
    """What the result says it cost is what the provider says it charged; the dead are listed with their reasons."""
    gateway.set_faults({"rows": {"filtered": 2}})

    result = orchestrator.run(
        marked(ROWS),
        prompt="{text}",
        model=MODEL,
        work=tmp_path / "work",
        provider_options={"base_url": gateway.url, **QUICK},
        policy={"chunk_requests_max": 10},
    )

    assert result.counts == {"rows": ROWS, "succeeded": ROWS - 6, "failed": 6}
    assert result.failures()["number"].to_pylist() == [0, 1, 10, 11, 20, 21]
    assert set(result.failures()["llm_error_code"].to_pylist()) == {"content_filter"}
    assert dict(result.errors()) == {"content_filter": 6}
    assert result.cost_usd == Decimal(gateway.bill()["fees_usd"])
    costs = [cost for cost in result.to_arrow()["llm_cost_usd"].to_pylist() if cost]
    assert sum(Decimal(str(cost)) for cost in costs) == result.cost_usd


def test_a_job_is_opened_again_by_its_id(run: Callable[..., Result], tmp_path: Path) -> None:
    """Status and results need nothing but the work folder."""
    result = run(marked(ROWS))

    job = open_job(result.job_id, work=tmp_path / "work")

    assert job.status().state == "finished"
    assert job.results().to_arrow().equals(result.to_arrow())
