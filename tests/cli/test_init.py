"""`orchestrator init`: the job file that it writes is one, whatever the table."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import orchestrator
from orchestrator.api.drafting import MODELS, draft
from orchestrator.api.job import read_job
from orchestrator.cli.init import init
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.planner.template import placeholders
from tests.gateway_process import ROOT

REVIEWS = """id,stars,title,text
1,4,The zip,"The zip broke after two weeks. Support answered
in an hour."
2,5,,
3,1,Cold,"It is not warm, and it is not cheap either."
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text(REVIEWS)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(init, arguments, catch_exceptions=False)


def test_a_table_is_shown_and_its_job_file_is_one(folder: Path) -> None:
    ended = run("reviews.csv")

    assert (
        ended.output
        == """\
reviews.csv  3 rows; all were read

  column               type        empty   example
  id                   string          0   1
  stars                string          0   4
  title                string          1   The zip
  text                 string          1   The zip broke after two weeks. Supp…

wrote reviews.toml
  prompt  "One word for the mood of:\\n\\n{text}"
  model   openai/gpt-6-luna-batch at onerouter

  edit the prompt, then see what it would send and cost:
    orchestrator plan reviews.toml
"""
    )
    job = read_job(folder / "reviews.toml")
    assert (job.name, job.dataset, job.model) == ("reviews", str(folder / "reviews.csv"), MODELS["onerouter"])
    assert placeholders(job.body) == ("text",)


def test_a_file_that_is_there_is_not_written_over(folder: Path) -> None:
    (folder / "reviews.toml").write_text("mine")

    with pytest.raises(ConfigError, match=r"reviews.toml is there already: .* init reviews.csv --output OTHER.toml"):
        run("reviews.csv")
    assert (folder / "reviews.toml").read_text() == "mine"


def test_paths_start_at_the_job_file(folder: Path) -> None:
    (folder / "jobs").mkdir()
    run("reviews.csv", "--output", "jobs/mood.toml", "--prompt", "Say {title}", "--provider", "anthropic")

    job = read_job(folder / "jobs" / "mood.toml")
    assert Path(job.dataset).resolve() == folder / "reviews.csv"
    assert 'dataset = "../reviews.csv"' in (folder / "jobs" / "mood.toml").read_text()
    assert (job.provider, job.model) == ("anthropic", MODELS["anthropic"])
    assert placeholders(job.body) == ("title",)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_separator_is_written_down(folder: Path, delimiter: str) -> None:
    (folder / "odd.csv").write_text(REVIEWS.replace(",", delimiter))
    run("odd.csv")

    assert read_job(folder / "odd.toml").resolved_dataset_options.delimiter == delimiter


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ({"a": ["x", "y"], "b": [1, 2]}, ("a", "b")),
        ({"n": [1, 2, None]}, ("n",)),
        ({"{odd}": ["a long text about something or other"], "fine": [1]}, ("{odd}",)),
        ({'q"uo\\te': ["a long text about something or other"], "b": [b"\x00"]}, ('q"uo\\te',)),
        ({"body": ["x" * 50], "title": ["y" * 40], "more": ["z" * 30]}, ("body", "title")),
        ({"nested": [{"a": 1}], "list": [[1]], "when": [pa.scalar(0, pa.timestamp("us")).as_py()]}, None),
    ],
)
def test_any_table_gives_a_job_file_that_can_be_read(
    folder: Path, table: dict[str, list[object]], columns: tuple[str, ...] | None
) -> None:
    pq.write_table(pa.table(table), folder / "table.parquet")
    found = draft("table.parquet", folder / "table.toml")
    (folder / "table.toml").write_text(found.text)

    used = placeholders(read_job(folder / "table.toml").body)
    assert set(used) <= set(table)
    assert columns in (None, used)
    assert found.rows == len(next(iter(table.values())))


def test_a_table_without_columns_is_refused(folder: Path) -> None:
    pq.write_table(pa.table({}), folder / "none.parquet")

    with pytest.raises(DatasetError):
        draft("none.parquet", folder / "none.toml")


def test_a_prompt_that_names_no_column_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--prompt: \{txt\} names no column; the nearest columns: text"):
        run("reviews.csv", "--prompt", "Mood of {txt}?")
    assert not (folder / "reviews.toml").exists()


def test_a_provider_without_a_usual_model_needs_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="name a model for provider 'ours': --model MODEL"):
        draft("reviews.csv", folder / "x.toml", provider="ours")
    assert 'model = "m"' in draft("reviews.csv", folder / "x.toml", provider="ours", model="m").text


def test_the_usual_models_have_a_price() -> None:
    vendors = json.loads((ROOT / "config" / "prices.json").read_text())["vendors"]
    known = {model for vendor in vendors.values() for model in vendor["models"]}

    assert {name.rpartition("/")[2].removesuffix("-batch") for name in MODELS.values()} <= known


def test_an_export_can_be_asked_about_again(folder: Path) -> None:
    """Its answers are columns of the next job's dataset, beside which new ones are written."""
    columns = {name: ["A text that is long enough."] for name in ("text", "custom_id", "llm_response", "llm2_response")}
    pq.write_table(pa.table(columns), folder / "answers.parquet")

    assert run("answers.parquet").exit_code == 0

    options = read_job(folder / "answers.toml").resolved_output_options
    assert (options.prefix, options.custom_id) == ("llm3_", "llm3_custom_id")
    assert orchestrator.plan(read_job(folder / "answers.toml")).requests == 1


def test_a_table_without_rows_is_said_to_have_none(folder: Path) -> None:
    (folder / "none.csv").write_text("id,text\n")

    assert run("none.csv").output.startswith("none.csv  no rows: nothing would be sent\n")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_table_that_is_not_utf_8_is_read_and_its_job_file_says_how(folder: Path, encoding: str) -> None:
    """Also with a column whose name has braces, which stands in quotes in the prompt."""
    (folder / "odd.csv").write_bytes("id,t{x}\n1,Gr\u00fc\u00dfe aus K\u00f6ln und Umgebung\n".encode(encoding))

    found = draft("odd.csv", folder / "odd.toml")

    assert f'encoding = "{encoding}"' in found.text
    (folder / "odd.toml").write_text(found.text, encoding="utf-8")
    plan = orchestrator.plan(read_job(folder / "odd.toml"))
    assert "Gr\u00fc\u00dfe aus K\u00f6ln und Umgebung" in plan.samples[0]


def test_what_is_no_table_is_refused_without_advice_about_a_file_that_is_not_there(folder: Path) -> None:
    (folder / "noise.csv").write_bytes(bytes(range(256)) * 4)

    with pytest.raises(DatasetError) as refused:
        draft("noise.csv", folder / "noise.toml")
    assert "in the job file, or in" not in str(refused.value)
    assert "convert it to UTF-8" in str(refused.value)
