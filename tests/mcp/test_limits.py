"""What an agent cannot reach or spend, whatever it names."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.api.job import Job
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.mcp.limits import Limits
from orchestrator.mcp.providers import AllowedProviders
from orchestrator.storage.location import locate

PRICE = {"input_usd": "7", "output_usd": "9"}


def job(dataset: str, **fields: object) -> Job:
    return Job(name="mood", dataset=dataset, model="m", prompt="{text}", provider="openai", **fields)  # type: ignore[arg-type]


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Limits to a folder `mine`, the current one; a folder beside it begins with its name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("mine", "mine-not"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text("text\nx\n")
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "mine-not")
    monkeypatch.chdir(tmp_path / "mine")
    return Limits(folders=[(tmp_path / "mine").resolve()], budget_usd_max=Decimal(5))


@pytest.mark.parametrize(
    "dataset",
    ["~/mine-not/rows.csv", "{}/mine*/rows.csv", "{}/min?-not/rows.csv", "linked/rows.csv", "link*/*.csv", "**", "."],
)
def test_a_table_elsewhere_is_refused_however_it_is_named(limits: Limits, tmp_path: Path, dataset: str) -> None:
    with pytest.raises(ConfigError, match="this server"):
        limits.check_job(job(dataset.format(tmp_path)))


@pytest.mark.parametrize("dataset", ["rows.csv", "*.csv", "row?.csv", "~/mine/rows.csv", "../mine/[r]ows.csv"])
def test_a_table_of_the_folder_is_taken_however_it_is_named(limits: Limits, dataset: str) -> None:
    limits.check_job(job(dataset))


def test_a_schema_elsewhere_is_refused(limits: Limits, tmp_path: Path) -> None:
    schema = tmp_path / "mine-not" / "schema.json"
    schema.write_text('{"type": "object", "properties": {"mood": {"type": "string"}}}')

    with pytest.raises(ConfigError, match=r"response\.schema"):
        limits.check_job(job("rows.csv", response={"schema": str(schema)}))


@pytest.mark.parametrize(
    ("provider", "refused"),
    [
        ({"base_url": "https://elsewhere.example/v1"}, "--allow-url https://elsewhere.example/v1"),
        ({"api_key_env": "AWS_SECRET_ACCESS_KEY"}, "--allow-variable AWS_SECRET_ACCESS_KEY"),
        ({"base_url": "https://api.anthropic.com/v1"}, "--allow-variable OPENAI_API_KEY"),  # another vendor's key
        ({"headers_env": {"x-extra": "HOME_TOKEN"}}, "--allow-variable HOME_TOKEN"),
        ({"proxy": "http://127.0.0.1:9"}, "a person sets HTTPS_PROXY"),
        ({"ca_file": "/etc/passwd"}, "provider.ca_file"),
        ({"prices": {"gpt-6-luna": {"input_usd": "0.01", "output_usd": "0.25"}}}, "below the known price"),
    ],
)
def test_a_job_file_sends_nowhere_and_no_key_that_nobody_has_allowed(
    limits: Limits, provider: dict[str, object], refused: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(refused)):
        limits.check_job(job("rows.csv", provider_options=provider))


def test_a_notice_takes_no_key_for_its_secret(limits: Limits) -> None:
    notify = {"url_env": "HOOK", "format": "ntfy", "secret_env": "ANOTHER_KEY"}
    allowing = replace(limits, providers=AllowedProviders(variables=("HOOK",)))

    with pytest.raises(ConfigError, match="--allow-variable HOOK"):
        limits.check_job(job("rows.csv", notify=notify))
    with pytest.raises(ConfigError, match=r"notify\.secret_env names ANOTHER_KEY"):
        allowing.check_job(job("rows.csv", notify=notify))


def test_what_a_person_has_allowed_is_taken(limits: Limits) -> None:
    """A known address with its own key needs no leave; what differs from it has one of its own."""
    own = {"base_url": "https://mine.example/v1/", "api_key_env": "MY_KEY", "prices": {"m": PRICE}}
    allowing = replace(
        limits, providers=AllowedProviders(urls=("https://mine.example/v1",), variables=("MY_KEY", "MY_HOOK"))
    )

    limits.check_job(job("rows.csv", provider_options={"prices": {"gpt-6-luna": PRICE, "unheard-of": PRICE}}))
    allowing.check_job(job("rows.csv", provider_options=own, notify={"url_env": "MY_HOOK"}))


def test_a_smaller_budget_for_the_same_job_frees_nothing_for_others(limits: Limits) -> None:
    """The greater one may be spent by then."""
    limits.take(JobId("first-1"), Decimal(4))
    limits.take(JobId("first-1"), Decimal(1))

    with pytest.raises(ConfigError, match="other jobs have 4"):
        limits.take(JobId("second-2"), Decimal(2))


def test_the_home_of_a_user_who_is_not_there_is_a_mistake_that_is_named() -> None:
    with pytest.raises(ConfigError, match="~nobody-of-this-name"):
        locate("~nobody-of-this-name/rows.csv")
