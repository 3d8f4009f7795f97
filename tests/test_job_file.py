"""A job as a user defines it: in Python, or as a TOML file. Mistakes are reported before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.api.job import Job, read_job
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import OutputOptions, Policy

FULL: Final = """\
[job]
name = "sotu"
dataset = "data/*.parquet"
provider = "onerouter"
work = "w"
output = "o"
[request]
model = "gpt-4o-mini-batch"
system = "Be brief."
prompt = "Summarise: {text}"
max_tokens = 64
temperature = 0.5
stop_sequences = ["END"]
[request.parameters]
seed = 7
[policy]
attempts_max = 5
budget_usd = "1.50"
[provider]
base_url = "http://localhost:8080/v1"
[output]
prefix = "m_"
raw = true
"""
LEAST: Final = '[job]\nname = "a"\ndataset = "d.csv"\n[request]\nmodel = "m"\nprompt = "{text}"\n'


def job_of(tmp_path: Path, text: str) -> Job:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return read_job(path)


def test_a_full_job_file_is_read(tmp_path: Path) -> None:
    job = job_of(tmp_path, FULL)

    places = [str(tmp_path / name) for name in ("data/*.parquet", "w", "o")]
    assert [job.name, job.dataset, job.work, job.output] == ["sotu", *places]  # relative to the file
    assert job.body == {
        "model": "gpt-4o-mini-batch",
        "max_tokens": 64,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Summarise: {text}"}],
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "seed": 7,
    }
    assert (job.resolved_policy.attempts_max, job.resolved_policy.budget_usd) == (5, Decimal("1.50"))
    assert job.resolved_output_options == OutputOptions(prefix="m_", raw=True)


def test_a_job_file_can_be_short(tmp_path: Path) -> None:
    job = job_of(tmp_path, LEAST)

    assert (job.provider, job.resolved_policy.chunk_requests_max) == ("onerouter", 10_000)
    assert job.resolved_output_options == OutputOptions()


def test_a_job_may_bring_its_own_provider(tmp_path: Path) -> None:
    own = '[provider]\ndialect = "onerouter"\nbase_url = "http://localhost:1"\napi_key_env = "K"\nrequests_max = 5\n'

    job = job_of(tmp_path, LEAST.replace("[request]", 'provider = "mine"\n[request]') + own)

    assert job.resolved_policy.chunk_requests_max == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[policy]", "[polcy]", "unknown key 'polcy'; did you mean 'policy'"),
        ("dataset =", "datasets =", r"\[job\]: unknown key 'datasets'; did you mean 'dataset'"),
        ("max_tokens = 64", "max_token = 64", r"\[request\]: unknown key 'max_token'; did you mean 'max_tokens'"),
        ("attempts_max = 5", "attempts = 5", r"\[policy\]: unknown key 'attempts'; did you mean 'attempts_max'"),
        ("base_url =", "url =", r"\[provider\]: unknown key 'url'"),
        ("raw = true", "row = true", r"\[output\]: unknown key 'row'; did you mean 'raw'"),
        ('name = "sotu"\n', "", r"\[job\] needs name"),
        ('dataset = "data/*.parquet"\n', "", r"\[job\] needs dataset"),
        ('model = "gpt-4o-mini-batch"\n', "", r"\[request\] needs model"),
        ('name = "sotu"', "name = 5", r"\[job\] needs name"),
        ('model = "gpt-4o-mini-batch"', 'model = ""', "request.model is empty"),
        ('name = "sotu"', 'name = "State of the Union"', "job.name 'State of the Union' must be lower-case"),
        ('name = "sotu"', 'name = "../sotu"', r"job.name '\.\./sotu' must be"),
        ("max_tokens = 64", "max_tokens = 0", "max_tokens must be a whole number from 1 to 2,147,483,647"),
        ("max_tokens = 64", "max_tokens = true", "max_tokens must be a whole number from 1 to 2,147,483,647"),
        ("max_tokens = 64", 'max_tokens = "64"', "max_tokens must be a whole number from 1 to 2,147,483,647"),
        ("max_tokens = 64", "max_tokens = 2147483648", "max_tokens must be a whole number from 1 to 2,147,483,647"),
        ("temperature = 0.5", "temperature = nan", "temperature must be a number"),
        ("max_tokens = 64", "max_tokens = 64.5", "max_tokens must be a whole number from 1 to 2,147,483,647"),
        ("temperature = 0.5", 'temperature = "hot"', "request.temperature must be a number"),
        ("temperature = 0.5", "top_p = true", "request.top_p must be a number"),
        ("temperature = 0.5", "top_k = 1.5", "request.top_k must be a whole number"),
        ("temperature = 0.5", 'seed = "7"', "request.seed must be a whole number"),
        ("seed = 7", "temperature = 7", "temperature: given twice"),
        ("seed = 7", 'model = "other"', "parameters must not hold model"),
        ('prompt = "Summarise: {text}"\n', "", "give either prompt or messages; neither is given"),
        ('prompt = "Summarise: {text}"', 'prompt = "Summarise: {text"', "{"),
        ('prompt = "Summarise: {text}"', "prompt = 5", "prompt"),
        ("attempts_max = 5", "attempts_max = 0", "attempts_max must be at least 1"),
        ('budget_usd = "1.50"', 'budget_usd = "lots"', "budget_usd must be an amount"),
        ('provider = "onerouter"', 'provider = "nobody"', "provider 'nobody' is not in"),
        ('provider = "onerouter"', "provider = 5", "provider"),
        ('work = "w"', "work = 5", "work"),
        ('output = "o"', "output = 5", "output"),
        ("raw = true", "raw = 1", "raw must be true or false"),
        ('prefix = "m_"', "prefix = 5", "prefix must be text"),
        ("[request.parameters]\nseed = 7", "parameters = 5", "parameters"),
        ('prompt = "Summarise: {text}"', 'messages = "hello"', "messages"),
        ("[output]", "[output", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_job_file_is_named_with_the_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert FULL.count(old) == 1

    with pytest.raises(ConfigError, match=message) as caught:
        job_of(tmp_path, FULL.replace(old, new))

    assert "job.toml" in str(caught.value)


@pytest.mark.parametrize("table", ["job", "request", "policy", "provider", "output"])
def test_a_table_that_is_no_table_is_named(tmp_path: Path, table: str) -> None:
    with pytest.raises(ConfigError, match=rf"{table} must be a table: \[{table}\]"):
        job_of(tmp_path, f"{table} = 5\n")


def test_a_job_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.toml: no such file"):
        read_job(tmp_path / "job.toml")


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.parent.glob("config/jobs/*.toml")), ids=lambda p: p.name)
def test_the_shipped_job_files_are_in_order(path: Path) -> None:
    assert read_job(path).name == path.stem


@pytest.mark.parametrize(
    "beside",
    [{"prompt": "{text}"}, {"system": "x"}, {"messages": [{"role": "user", "content": "x"}]}, {"max_tokens": 5}],
)
def test_a_function_that_makes_the_body_stands_alone(beside: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="render makes the whole body"):
        Job(dataset="d.csv", model="m", render=lambda row: row, **beside)


def test_a_policy_may_be_given_as_a_value() -> None:
    given = Policy(attempts_max=7, chunk_requests_max=3)

    assert Job(dataset="d.csv", model="m", prompt="x", policy=given).resolved_policy == given


def test_settings_of_a_provider_in_the_place_of_its_name_are_answered_with_where_they_go() -> None:
    with pytest.raises(ConfigError, match="provider must be a text, not dict; its settings go into provider_options"):
        Job(dataset="d.csv", model="m", prompt="x", provider={"base_url": "http://x/v1"})  # type: ignore[arg-type]
