"""Dialects are found as entry points: ours, and those of packages that know nothing of this repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from orchestrator import Job
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import Policy
from orchestrator.providers.registry import check_policy, connect, dialect_of, provider_settings
from tests.fakes.dialects import a_dialect

TABLE: Final = {"base_url": "https://api.example/v1", "api_key_env": "EXAMPLE_KEY"}
MODULE: Final = """
from dataclasses import dataclass

from orchestrator.domain.errors import ConfigError
from orchestrator.providers.http.auth import Header
from orchestrator.providers.onerouter.dialect import OneRouterDialect


@dataclass(frozen=True, kw_only=True)
class Options:
    region: str = "eu"

    def __post_init__(self):
        if self.region not in ("eu", "us"):
            raise ConfigError("[provider]: region must be eu or us")


class Example(OneRouterDialect):
    options_type = Options

    def request_body(self, request):
        return {"region": self.options.region, **request}

    def auth(self, key):
        return Header("x-api-key", key)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a dialect, installed as pip leaves it."""
    (tmp_path / "example_dialect.py").write_text(MODULE)
    info = tmp_path / "example_dialect-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-dialect\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[batch_orchestrator.dialects]\nexample = example_dialect:Example\n"
        "broken = example_dialect:Missing\nstranger = pathlib:Path\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "example_dialect", raising=False)


@pytest.mark.usefixtures("installed")
def test_a_dialect_of_another_package_is_used_like_ours() -> None:
    settings = provider_settings("mine", {**TABLE, "dialect": "example", "region": "us"})

    assert settings.options == {"region": "us"}
    assert dialect_of(settings).request_body({"model": "m"}) == {"region": "us", "model": "m"}
    assert connect(settings, {"EXAMPLE_KEY": "sk-1"}).traits.name == "mine"


@pytest.mark.usefixtures("installed")
def test_its_options_are_checked_as_ours_are() -> None:
    with pytest.raises(ConfigError, match="unknown key 'regoin'; did you mean 'region'"):
        provider_settings("mine", {**TABLE, "dialect": "example", "regoin": "us"})
    with pytest.raises(ConfigError, match="region must be eu or us"):
        provider_settings("mine", {**TABLE, "dialect": "example", "region": "moon"})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("dialect", "told"), [("broken", "cannot be imported"), ("stranger", "is not a subclass of")])
def test_an_entry_point_that_is_no_dialect_is_named(dialect: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        provider_settings("mine", {**TABLE, "dialect": dialect})


def test_an_unknown_dialect_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown dialect 'opnai'; known: .*onerouter, openai"):
        provider_settings("mine", {**TABLE, "dialect": "opnai"})


def test_an_option_of_one_dialect_is_not_one_of_another() -> None:
    assert a_dialect("openai", endpoint="/v1/responses").options.endpoint == "/v1/responses"
    with pytest.raises(ConfigError, match="unknown key 'endpoint'"):
        a_dialect("onerouter", endpoint="/v1/responses")
    with pytest.raises(ConfigError, match="endpoint must be one of"):
        a_dialect("openai", endpoint="/v1/images")
    with pytest.raises(ConfigError, match="accepts must be a list"):
        a_dialect("openai", accepts="top_k")


@pytest.mark.parametrize(
    ("base_url", "told"),
    [
        ("ftp://api.example/v1", r"base_url = 'ftp://api\.example/v1': .*neither http nor https\. Type the address"),
        ("api.example/v1", r"base_url = 'api\.example/v1'.*\. Type the address"),
        ("https://user:word@api.example/v1", r"base_url: .*a user name or a password\. Type the address"),
        ("https://api.example/v1/batches", r'Type base_url = "https://api\.example/v1"$'),
        ("https://api.example/v1/files/", r'Type base_url = "https://api\.example/v1"$'),
        ("https://api.example/v1/chat/completions", r'Type base_url = "https://api\.example/v1"$'),
        ("https://api.example/v1/messages/batches", r'Type base_url = "https://api\.example/v1"$'),
    ],
)
def test_a_base_url_that_cannot_be_right_is_refused_before_anything_else_and_says_what_to_type(
    base_url: str, told: str
) -> None:
    """`plan` needs no key and calls nothing: the mistake must show there, not in the first create."""
    with pytest.raises(ConfigError, match=told) as caught:
        provider_settings("mine", {**TABLE, "dialect": "openai", "base_url": base_url})

    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.example",
        "https://api.example/batches/v1/",
        "http://localhost:8080/v1",
        "https://x.example/openai/v1",
    ],
)
def test_any_other_address_may_be_the_api_s(base_url: str) -> None:
    assert provider_settings("mine", {**TABLE, "dialect": "openai", "base_url": base_url}).base_url == base_url


def test_a_limit_of_polls_is_refused_where_one_list_answers_for_all() -> None:
    """It would slow them down for nothing; elsewhere it is taken, and creates may be limited."""
    by_list, one_by_one = (provider_settings("mine", {**TABLE, "dialect": name}) for name in ("openai", "onerouter"))
    limited = Policy(polls_per_minute_max=60)

    with pytest.raises(ConfigError, match="Leave it out"):
        check_policy(limited, by_list)
    with pytest.raises(ConfigError, match="Leave it out"):
        _ = Job(name="j", dataset="d.csv", model="m", prompt="{x}", provider="openai", policy=limited).resolved_policy
    assert check_policy(limited, one_by_one) is limited
    assert check_policy(Policy(creates_per_minute_max=60), by_list).creates_per_minute_max == 60


def test_the_key_that_is_not_set_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigError, match="EXAMPLE_KEY is not set"):
        connect(provider_settings("mine", {**TABLE, "dialect": "openai"}), {})
