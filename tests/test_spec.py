"""What makes a job this job and no other: what its id depends on, and what it must not depend on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.domain.policy import OutputOptions, Price
from orchestrator.engine.spec import Spec, from_json
from orchestrator.settings import ProviderSettings

ROOT: Final = Path(__file__).resolve().parent.parent
PROVIDER: Final = ProviderSettings(
    name="onerouter",
    dialect="onerouter",
    base_url="https://llm.onerouter.pro/v1",
    api_key_env="ONEROUTER_API_KEY",
    requests_max=10_000,
    bytes_max=50_000_000,
    prices={"m": Price(input_usd=Decimal("0.075"), output_usd=Decimal("0.30"))},
)
BODY: Final = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "{text}: naïve"}]}


def a_spec(**changed: Any) -> Spec:
    """Return a spec; keywords that are fields of the provider's table go there."""
    known = {f.name for f in fields(ProviderSettings)} - {"name"}
    table = {name: changed.pop(name) for name in known & changed.keys()}
    spec = Spec(
        name="sotu",
        dataset="/data/sotu.parquet",
        fingerprint="f1",
        model="m",
        body=BODY,
        provider=replace(PROVIDER, **table),
        shard_rows=100_000,
        shard_bytes=268_435_456,
    )
    return replace(spec, **changed)


ANOTHER_JOB: Final[dict[str, dict[str, Any]]] = {  # by hand
    "another dataset": {"fingerprint": "f2"},
    "another model": {"model": "n"},
    "another prompt": {"body": {**BODY, "messages": [{"role": "user", "content": "{text}"}]}},
    "another parameter": {"body": {**BODY, "temperature": 0}},
    "another value of a parameter": {"body": {**BODY, "max_tokens": 65}},
    "a text for a number": {"body": {**BODY, "max_tokens": "64"}},
    "another message": {"body": {**BODY, "messages": [{"role": "system", "content": "{text}: naïve"}]}},
    "a function in place of a body": {"body": None, "render": "f"},
    "another function": {"body": None, "render": "g"},
    "another dialect": {"dialect": "openai"},
    "another address, such as a rehearsal's": {"base_url": "http://127.0.0.1:8080/v1"},
    "another query in the address": {"query": {"deployment": "b"}},
    "answers of a schema": {"response": '{"a":1,"b":2}'},
    "its fields in another order": {"response": '{"b":2,"a":1}'},
    "asked in words": {"response": '{"a":1,"b":2}', "structured_output": "text"},
    "another length of shards": {"shard_rows": 99_999},
    "another size of shards": {"shard_bytes": 1},
}
THE_SAME_JOB: Final[dict[str, dict[str, Any]]] = {
    "the dataset lies elsewhere": {"dataset": "/moved/sotu.parquet"},
    "the output goes elsewhere": {"output": "/elsewhere"},
    "result columns are called otherwise": {"output_options": OutputOptions(prefix="m_", raw=True)},
    "a key of another name": {"api_key_env": "ANOTHER_KEY"},
    "a slash more in the address": {"base_url": "https://llm.onerouter.pro/v1/"},
    "other limits": {"requests_max": 1, "bytes_max": 1, "tokens_max": 1, "batches_in_flight_max": 1},
    "other manners": {"poll_s_min": 1.0, "poll_s_max": 2.0, "create_s_max": 3.0},
    "other prices": {"prices": {}},
    "another way there": {"proxy": "http://p:3128", "ca_file": "/ca.pem", "auth": "header:api-key"},
    "how a schema would be asked for, where there is none": {"structured_output": "text"},
    "other headers": {"headers": {"X-Team": "t"}, "headers_env": {"X-Project": "V"}},
    "another version of the API": {"query": {"api-version": "2026-01-01"}},
    "keys in another order": {"body": dict(reversed(BODY.items()))},
}


@pytest.mark.parametrize("change", ANOTHER_JOB)
def test_what_changes_an_answer_or_who_gives_it_makes_another_job(change: str) -> None:
    assert a_spec(**ANOTHER_JOB[change]).digest != a_spec().digest


def test_no_two_of_these_changes_make_the_same_job() -> None:
    assert len({a_spec(**change).digest for change in ANOTHER_JOB.values()}) == len(ANOTHER_JOB)


@pytest.mark.parametrize("change", THE_SAME_JOB)
def test_everything_else_leaves_the_job_the_same(change: str) -> None:
    assert a_spec(**THE_SAME_JOB[change]).job_id == a_spec().job_id


def test_a_job_of_another_name_has_other_rows_at_the_provider() -> None:
    """A custom_id begins with the digits of the job's id."""
    named = a_spec(name="other")

    assert named.digest[:8] != a_spec().digest[:8]
    assert named.job_id == f"other-{named.digest[:8]}"
    assert named.scope() == a_spec().scope(), "and the same answers"


def test_an_id_stays_what_it_was_when_the_program_changes() -> None:
    """A job begun with an older version must be found again: this digest may only change on purpose."""
    assert a_spec().job_id == "sotu-ff3f1bbe"


def test_a_spec_comes_back_from_json_as_it_was() -> None:
    spec = a_spec(
        output="/o",
        output_options=OutputOptions(prefix="m_"),
        tokens_max=5,
        render="r",
        response='{"b":2,"a":1}',
        body=None,
    )

    assert from_json(spec.to_json()) == spec
    assert from_json(a_spec().to_json()).digest == a_spec().digest


def test_the_keys_of_a_body_stay_in_their_order() -> None:
    """Rule: a resumed job sends the same bytes; a model answers the fields of a schema in their order."""
    body = {"model": "m", "messages": [{"role": "user", "content": "{text}"}]}

    assert json.dumps(from_json(a_spec(body=body).to_json()).body) == json.dumps(body)


def test_the_kept_spec_says_which_job_it_is() -> None:
    kept = json.loads(a_spec().to_json())

    assert (kept["format"], kept["job_id"]) == (1, a_spec().job_id)


def test_no_secret_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the name of the variable that holds the key."""
    monkeypatch.setenv("ONEROUTER_API_KEY", "sk-very-secret")

    kept = a_spec().to_json()

    assert "sk-very-secret" not in kept
    assert "ONEROUTER_API_KEY" in kept


@pytest.mark.parametrize(
    ("model", "price"), [("m", Price(input_usd=Decimal("0.075"), output_usd=Decimal("0.30"))), ("n", None)]
)
def test_a_model_costs_what_the_provider_says_or_nobody_knows(model: str, price: Price | None) -> None:
    assert a_spec(model=model).price == price


@pytest.mark.parametrize(
    ("body", "tokens"), [(BODY, 64), ({"model": "m"}, 1_024), (None, 1_024), ({"max_tokens": "{wanted}"}, 1_024)]
)
def test_an_answer_is_assumed_as_long_as_it_may_be(body: dict[str, Any] | None, tokens: int) -> None:
    assert a_spec(body=body).output_tokens_max == tokens


TELL: Final = """
from tests.test_spec import a_spec
print(a_spec().digest)
"""


def test_a_digest_is_the_same_in_every_process() -> None:
    """Whatever the seed of Python's hashes."""
    told = {
        subprocess.run(
            [sys.executable, "-c", TELL],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }

    assert told == {f"{a_spec().digest}\n"}
