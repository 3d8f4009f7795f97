"""What the program is told from outside: nothing unknown is passed over, nothing is guessed, every message helps."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator import settings
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import NullPolicy, OnAmbiguous, Policy, Price

DEFAULTS: Final = """\
work = "w"
ledger_url = ""
broker_url = "redis://127.0.0.1:6379/0"
broker_insecure = false
threads = 8
lease_s = 120
tick_s = 5
shutdown_s = 330
heartbeat = ""
traces = false
notify_url = ""
notify_format = "json"
notify_on = "finished"
notify_secret = ""
shard_rows = 1000
shard_bytes = 5000
"""
PROVIDERS: Final = """\
[here]
dialect = "onerouter"
base_url = "https://api.example/v1"
api_key_env = "HERE_KEY"
requests_max = 100
bytes_max = 2000
tokens_max = 300
batches_in_flight_max = 4
poll_s_min = 1
poll_s_max = 20
[here.prices."a-model"]
input_usd = "0.075"
output_usd = 0.3
[bare]
dialect = "onerouter"
base_url = "https://bare.example"
api_key_env = "BARE_KEY"
"""
OWN: Final = {"dialect": "onerouter", "base_url": "http://localhost:1", "api_key_env": "OWN_KEY"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "defaults.toml").write_text(DEFAULTS)
    (tmp_path / "providers.toml").write_text(PROVIDERS)
    return tmp_path


def here(folder: Path, **overrides: Any) -> settings.ProviderSettings:
    return settings.provider("here", overrides, folder)


def test_the_shipped_configuration_is_in_order() -> None:
    found = settings.load({})
    onerouter = settings.provider("onerouter", {})

    assert (found.work, found.threads, found.shard_rows) == (str(Path(".orchestrator").absolute()), 8, 100_000)
    assert onerouter.base_url == "https://llm.onerouter.pro/v1"
    assert onerouter.prices == {}  # they are in prices.json
    assert settings.policy({}, onerouter).chunk_requests_max == 10_000


def test_the_environment_goes_before_the_file(folder: Path) -> None:
    environment = {
        "ORCHESTRATOR_WORK": "/elsewhere",
        "ORCHESTRATOR_THREADS": "2",
        "ORCHESTRATOR_LEASE_S": "1.5",
        "ORCHESTRATOR_LEDGER_URL": "postgresql://ledger.example/jobs",
        "ORCHESTRATOR_BROKER_URL": "rediss://:word@broker.example:6379/3",
        "ORCHESTRATOR_BROKER_INSECURE": "True",
        "ORCHESTRATOR_TICK_S": "2",
        "ORCHESTRATOR_SHUTDOWN_S": "60",
        "ORCHESTRATOR_HEARTBEAT": "/run/beat",
        "ORCHESTRATOR_TRACES": "true",
        "ORCHESTRATOR_NOTIFY_URL": "https://hooks.example/x",
        "ORCHESTRATOR_NOTIFY_FORMAT": "ntfy",
        "ORCHESTRATOR_NOTIFY_ON": "finished, budget",
        "ORCHESTRATOR_NOTIFY_SECRET": "tk_1",
        "THREADS": "99",
    }

    assert settings.load(environment, folder) == settings.Settings(
        work="/elsewhere",
        ledger_url="postgresql://ledger.example/jobs",
        broker_url="rediss://:word@broker.example:6379/3",
        broker_insecure=True,
        threads=2,
        lease_s=1.5,
        tick_s=2,
        shutdown_s=60,
        heartbeat="/run/beat",
        traces=True,
        notify_url="https://hooks.example/x",
        notify_format="ntfy",
        notify_on="finished, budget",
        notify_secret="tk_1",
        shard_rows=1_000,
        shard_bytes=5_000,
    )


def test_a_work_folder_may_be_the_url_of_one(folder: Path) -> None:
    assert settings.load({"ORCHESTRATOR_WORK": "s3://bucket/work/"}, folder).work == "s3://bucket/work"


def test_an_address_that_may_bear_a_password_is_not_shown(folder: Path) -> None:
    """Promise 8: settings end up in tracebacks."""
    environment = {
        "ORCHESTRATOR_LEDGER_URL": "postgresql://me:canary@ledger.example/jobs",
        "ORCHESTRATOR_BROKER_URL": "rediss://:canary@broker.example:6379/3",
        "ORCHESTRATOR_NOTIFY_URL": "https://hooks.example/canary",
        "ORCHESTRATOR_NOTIFY_SECRET": "whsec_canary",
    }

    assert "canary" not in repr(settings.load(environment, folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEFAULTS + "thread = 8\n", "unknown key 'thread'; did you mean 'threads'"),
        (DEFAULTS + "colour = 8\n", "unknown key 'colour'"),
        (DEFAULTS.replace("threads = 8", 'threads = "8"'), "threads"),
        (DEFAULTS.replace("threads = 8", "threads = true"), "threads"),
        (DEFAULTS.replace("threads = 8", "threads = 0"), "threads"),
        (DEFAULTS.replace("threads = 8", "threads = 2.5"), "threads"),
        (DEFAULTS.replace("threads = 8\n", ""), "threads"),
        (DEFAULTS.replace('work = "w"', "work = 5"), "work"),
        (DEFAULTS.replace('work = "w"\n', ""), "work"),
        (DEFAULTS.replace("lease_s = 120", "lease_s = nan"), "lease_s"),
        (DEFAULTS.replace("lease_s = 120", "lease_s = -1"), "lease_s"),
        (DEFAULTS.replace("broker_insecure = false", "broker_insecure = 0"), "broker_insecure"),
        (DEFAULTS.replace('heartbeat = ""', "heartbeat = false"), "heartbeat"),
        ("threads = = 8", "line 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(folder: Path, text: str, message: str) -> None:
    (folder / "defaults.toml").write_text(text)

    with pytest.raises(ConfigError, match=message) as caught:
        settings.load({}, folder)

    assert "defaults.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("THREADS", "many"), ("THREADS", "2.5"), ("THREADS", "0"), ("LEASE_S", "nan"), ("LEASE_S", "")),
        *(("BROKER_INSECURE", "yes"), ("TICK_S", "0"), ("WORK", "")),
    ],
)
def test_a_wrong_variable_is_named(folder: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"ORCHESTRATOR_{name}"):
        settings.load({f"ORCHESTRATOR_{name}": value}, folder)


def test_a_file_that_is_not_there_or_no_text_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: no such file"):
        settings.read_toml(folder / "nothing.toml")
    (folder / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bytes\.toml: line 1 is not UTF-8: save"):
        settings.read_toml(folder / "bytes.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.read_toml(folder)


def test_a_providers_table_is_read_and_overridden(folder: Path) -> None:
    found = here(folder, base_url="http://localhost:9", requests_max=7)

    assert found == settings.ProviderSettings(
        name="here",
        dialect="onerouter",
        base_url="http://localhost:9",
        api_key_env="HERE_KEY",
        requests_max=7,
        bytes_max=2_000,
        tokens_max=300,
        batches_in_flight_max=4,
        poll_s_min=1,
        poll_s_max=20,
        prices={"a-model": Price(input_usd=Decimal("0.075"), output_usd=Decimal("0.3"))},
    )


def test_a_provider_of_the_jobs_own_needs_no_table_and_gets_modest_limits(folder: Path) -> None:
    found = settings.provider("own", OWN, folder)

    assert (found.name, found.base_url, found.requests_max, found.bytes_max) == (
        "own",
        "http://localhost:1",
        10_000,
        50_000_000,
    )


@pytest.mark.parametrize("missing", sorted(OWN))
def test_an_unknown_provider_without_all_it_needs_is_refused_with_those_there_are(folder: Path, missing: str) -> None:
    some = {name: value for name, value in OWN.items() if name != missing}

    with pytest.raises(ConfigError, match=r"'own' is not in .*providers\.toml, which has: bare, here"):
        settings.provider("own", some, folder)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"request_max": 7}, r"\[provider\]: unknown key 'request_max'; did you mean 'requests_max'"),
        ({"name": "other"}, r"unknown key 'name'.* \[job\]: provider = \"other\""),
        ({"api_key": "sk-very-secret"}, "unknown key 'api_key'; did you mean 'api_key_env'"),
        ({"requests_max": "7"}, "requests_max must be a whole number, not str"),
        ({"requests_max": True}, "requests_max must be a whole number, not true or false"),
        ({"requests_max": 7.5}, "requests_max must be a whole number, not float"),
        ({"tokens_max": "many"}, "tokens_max must be a whole number or nothing, not str"),
        ({"poll_s_min": "1"}, "poll_s_min must be a number"),
        ({"create_s_max": 0}, "create_s_max must be above 0"),
        ({"base_url": 5}, "base_url must be text"),
        ({"prices": {"m": {"input_usd": "1"}}}, 'prices."m" must have input_usd and output_usd'),
        ({"prices": {"m": {"input_usd": "1", "output_usd": "free"}}}, 'prices."m".output_usd must be an amount'),
        ({"prices": {"m": {"input_usd": "1", "output_usd": "-1"}}}, "not below 0"),
        ({"prices": {"m": 5}}, 'prices."m" must have'),
        ({"prices": 5}, "prices"),
    ],
)
def test_a_wrong_field_of_a_provider_is_named(folder: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        here(folder, **overrides)

    assert "sk-very-secret" not in str(caught.value)


def test_an_incomplete_table_is_refused_with_what_it_lacks(folder: Path) -> None:
    (folder / "providers.toml").write_text('[here]\ndialect = "onerouter"\napi_key_env = "K"\n')

    with pytest.raises(ConfigError, match="base_url"):
        here(folder)


def test_an_unknown_key_in_the_file_is_named_with_its_table(folder: Path) -> None:
    (folder / "providers.toml").write_text(PROVIDERS + "polls_s_min = 5\n")

    with pytest.raises(ConfigError, match=r"\[bare\]: unknown key 'polls_s_min'; did you mean 'poll_s"):
        settings.provider("bare", {}, folder)


def test_a_policys_limits_are_the_providers_unless_the_job_says_otherwise(folder: Path) -> None:
    table = here(folder)

    assert settings.policy({}, table) == Policy(
        chunk_requests_max=100,
        chunk_bytes_max=2_000,
        chunk_tokens_max=300,
        batches_in_flight_max=4,
        poll_s_min=1,
        poll_s_max=20,
    )
    assert settings.policy({"chunk_requests_max": 5}, table).chunk_requests_max == 5


def test_a_policy_that_was_given_whole_is_taken_as_it_is(folder: Path) -> None:
    given = Policy(chunk_requests_max=5, attempts_max=9)

    assert settings.policy({}, here(folder), given=given) == given


def test_words_and_amounts_of_a_policy_are_read(folder: Path) -> None:
    wishes = {"on_ambiguous": "resubmit", "max_duplicate_usd": "1.5", "budget_usd": 0.1, "null_policy": "skip"}

    found = settings.policy(wishes, here(folder))

    assert found.on_ambiguous is OnAmbiguous.RESUBMIT
    assert found.null_policy is NullPolicy.SKIP
    assert (found.max_duplicate_usd, found.budget_usd) == (Decimal("1.5"), Decimal("0.1"))


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"attempt_max": 5}, r"\[policy\]: unknown key 'attempt_max'; did you mean 'attempts_max'"),
        ({"attempts_max": 0}, "attempts_max must be at least 1"),
        ({"attempts_max": "3"}, "attempts_max must be a whole number, not str"),
        ({"attempts_max": True}, "attempts_max must be a whole number, not true or false"),
        ({"chunk_requests_max": 0}, "chunk_requests_max must be at least 1"),
        ({"chunk_bytes_max": 0}, "chunk_bytes_max must be at least 1"),
        ({"chunk_tokens_max": 0}, "chunk_tokens_max must be at least 1"),
        ({"batches_in_flight_max": 0}, "batches_in_flight_max must be at least 1"),
        ({"chunks_ahead_max": 0}, "chunks_ahead_max must be at least 1"),
        ({"poll_s_min": 0}, "poll_s_min"),
        ({"poll_s_min": 30, "poll_s_max": 20}, "poll_s_max"),
        ({"poll_s_min": float("nan")}, "poll_s_min"),
        ({"polls_per_minute_max": 0}, "polls_per_minute_max"),
        ({"creates_per_minute_max": 0}, "creates_per_minute_max"),
        ({"on_ambiguous": "guess"}, "on_ambiguous must be one of 'reconcile', 'hold', 'resubmit'"),
        ({"null_policy": 5}, "null_policy must be one of 'error', 'empty', 'skip'"),
        ({"retry_gather_s": -1}, "retry_gather_s"),
        ({"retry_gather_s": float("inf")}, "retry_gather_s"),
        ({"budget_usd": "much"}, "budget_usd must be an amount in USD"),
        ({"budget_usd": -1}, "budget_usd must be an amount in USD, not below 0"),
        ({"budget_usd": "NaN"}, "budget_usd must be an amount"),
        ({"budget_usd": True}, "budget_usd must be an amount"),
    ],
)
def test_a_wrong_wish_is_named(folder: Path, wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings.policy(wishes, here(folder))


def test_a_policy_that_was_given_whole_is_checked_too(folder: Path) -> None:
    with pytest.raises(ConfigError, match="attempts_max"):
        settings.policy({}, here(folder), given=Policy(attempts_max="3"))  # type: ignore[arg-type]
