"""The free look at a provider before anything is sent: what stops a job, what is only told, and what to type.

The bodies are those of openai 3.57.0's types, of a public client that reads OneRouter's list, and of public reports.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest

from orchestrator.domain.checks import Check, Level, exit_code
from orchestrator.providers.check import check_clock, check_provider
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.model_list import ListedModel, ModelList
from orchestrator.providers.reach import reach
from orchestrator.providers.registry import dialect_of, provider_settings
from tests.adapters.wire import answer, header, saying, serving, target
from tests.servers.http_proxy import running_http_proxy

KEY: Final = "sk-canary-60d5ee1a"
OPENAI: Final = "http://api.openai.com/v1"  # through a proxy of the test's own
MODELS: Final = {
    "object": "list",
    "data": [
        {"id": "gpt-6-luna", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": None},
        {"id": "gpt-6-sol", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": "2020-01-31"},
        {"id": "gpt-5.4", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": "2999-01-31"},
    ],
}


def checks_of(raw: bytes, model: str = "", *, provider: str = "openai", base_url: str = "") -> list[Check]:
    """Return what a check finds at a server that answers so; at `base_url`, by way of a proxy to that server."""
    with serving(saying(raw)) as server, running_http_proxy(server.port) as proxy:
        table = provider_settings(provider, {"base_url": base_url or f"{server.url}/v1", "api_key_env": "THE_KEY"})
        return list(check_provider(table, {"THE_KEY": KEY, "HTTP_PROXY": proxy.url}, model))


def listing(content: object) -> bytes:
    return answer(200, json.dumps(content).encode(), content_type="application/json")


def found(checks: list[Check], name: str) -> list[tuple[str, str]]:
    return [(check.level.value, check.message) for check in checks if check.name == name]


def worst(checks: list[Check]) -> Level:
    levels = [check.level for check in checks]
    return next(level for level in (Level.ERROR, Level.WARNING, Level.OK) if level in levels)


def test_a_good_key_and_a_listed_model_are_in_order() -> None:
    checks = checks_of(listing(MODELS), "gpt-6-luna", base_url=OPENAI)

    assert worst(checks) is Level.OK
    assert exit_code(checks) == 0
    assert ("ok", "the key in THE_KEY is accepted") in found(checks, "credential")
    assert ("ok", "gpt-6-luna is in the provider's list") in found(checks, "model")
    assert "named by HTTP_PROXY" in found(checks, "proxy")[0][1]


@pytest.mark.parametrize(
    ("raw", "model", "name", "message", "code"),
    [
        (
            answer(401, b'{"error":{"message":"Incorrect API key"}}'),
            "",
            "credential",
            "the key in THE_KEY is refused",
            3,
        ),
        (answer(301, location="https://api.openai.com/v1/models"), "", "address", "a redirect.*https://api.openai", 2),
        (answer(200, b"<!doctype html><title>Gateway</title>"), "", "address", "with a web page.*end in /v1", 2),
        (answer(404, b'{"error":{"message":"Invalid URL (GET /models)"}}'), "", "address", "no such address.*/v1", 2),
        (listing(MODELS), "gpt-6-lunar", "model", "not among the 3 models.*similar: gpt-6-luna", 2),
        (listing(MODELS), "gpt-6-sol", "model", "ended gpt-6-sol on 2020-01-31", 2),
    ],
)
def test_what_would_fail_every_create_is_an_error(raw: bytes, model: str, name: str, message: str, code: int) -> None:
    """With the exit code: 2 for what a file or a command says, 3 for the account."""
    checks = checks_of(raw, model, base_url=OPENAI)
    errors = [check for check in checks if check.level is Level.ERROR]

    assert [check.name for check in errors] == [name]
    assert re.search(message, errors[0].message)
    assert exit_code(checks) == code
    assert KEY not in errors[0].message


@pytest.mark.parametrize(
    "raw",
    [
        answer(404, b'{"detail":"Not Found"}'),
        answer(405),
        answer(500, b"oops"),
        answer(503, b"<html>busy</html>"),
        answer(429, b"{}"),
        answer(403, b'{"error":{"message":"Missing scopes: api.model.read"}}'),
        answer(401, b'{"error":{"message":"You have insufficient permissions. Missing scopes: model.read"}}'),
        answer(200, b'{"data":{}}'),
        answer(200, b"no JSON"),
    ],
)
def test_a_list_that_is_not_to_be_had_holds_nobody_up(raw: bytes) -> None:
    """Servers with the same API may have no such list, and a restricted key may not read it."""
    checks = checks_of(raw, "gpt-6-luna")

    assert worst(checks) is not Level.ERROR
    assert exit_code(checks) == 0


def test_elsewhere_a_model_that_is_not_listed_is_only_told() -> None:
    """Azure lists models, and a job names a deployment."""
    checks = checks_of(listing(MODELS), "my-deployment")

    assert found(checks, "model")[0][0] == "warning"
    assert exit_code(checks) == 0


def test_no_answer_at_all_ends_within_the_limit_and_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        table = provider_settings("openai", {"base_url": f"http://127.0.0.1:{silent.getsockname()[1]}/v1"})
        reached = reach(dialect_of(table), Secret(KEY), {}, limit_s=0.2)

    assert reached.answer is None
    assert not reached.is_certain


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
def test_an_address_where_nobody_is_stops_the_job(base_url: str) -> None:
    table = provider_settings("openai", {"base_url": base_url, "api_key_env": "THE_KEY"})
    checks = list(check_provider(table, {"THE_KEY": KEY}))

    level, message = found(checks, "address")[0]
    assert level == "error" or "Temporary failure" in message  # a machine without a name server may learn of one
    assert base_url in message and "base_url" in message


def test_a_proxy_that_wants_a_password_is_named() -> None:
    with (
        serving(saying(listing(MODELS))) as server,
        running_http_proxy(server.port, credentials="u:canary-pw") as proxy,
    ):
        table = provider_settings("openai", {"base_url": OPENAI, "api_key_env": "THE_KEY"})
        given = {"THE_KEY": KEY, "HTTP_PROXY": proxy.url.replace("canary-pw", "canary-no")}
        checks = list(check_provider(table, given))

    level, message = found(checks, "address")[0]
    assert level == "error"
    assert "407 of the proxy" in message and "HTTP_PROXY" in message and "canary" not in message


ROUTER: Final = [
    {"id": "openai/gpt-6-luna", "category_type": "LLM", "Min_Prompt_Price": 0.1, "min_completion_price": 0.5},
    {"id": "openai/gpt-6-sol", "category_type": "LLM", "min_prompt_price": 9, "min_completion_price": 50},
]
BATCHES: Final = [{"id": f"{row['id']}-batch"} for row in ROUTER]


@pytest.mark.parametrize(
    ("rows", "model", "name", "expected"),
    [
        (ROUTER, "openai/gpt-6-luna-batch", "model", "warning.*similar: openai/gpt-6-luna"),
        ([*ROUTER, *BATCHES], "openai/gpt-6-luna-batch", "model", "ok.*is in the provider's list"),
        ([*ROUTER, *BATCHES], "openai/gpt-6-lunar-batch", "model", "error.*similar: openai/gpt-6-luna-batch"),
        ([*ROUTER, *BATCHES], "gpt-6-luna-batch", "model", "error.*similar: .*openai/gpt-6-luna-batch"),
        (ROUTER, "openai/gpt-6-luna", "model", "warning.*name models for batches NAME-batch"),
        (ROUTER, "openai/gpt-6-luna", "price", "ok 0.05 in, 0.25 out"),  # half of what is listed
        (ROUTER, "openai/gpt-6-sol", "price", "warning.*1 in, 5 out.*lists 9.* in, 50.* out"),
        (ROUTER, "unheard-of-batch", "price", r"warning no price of unheard-of-batch is known\W.*provider\.prices"),
        (ROUTER, "gpt-6-lunar-batch", "price", "warning no price of .*; known and similar: gpt-6-luna-batch"),
        (ROUTER, "openai/gpt-6-luna-batch", "credential", "ok.*given to anybody"),
    ],
)
def test_onerouters_list_is_read_as_far_as_it_is_known(
    rows: list[Mapping[str, Any]], model: str, name: str, expected: str
) -> None:
    """Whether batch models are in it is not documented: it decides only where some are."""
    checks = checks_of(listing({"data": rows}), model, provider="onerouter")

    shown = [f"{level} {message}" for level, message in found(checks, name)]
    assert any(re.match(expected, one) for one in shown), shown


def test_the_look_is_one_get_with_the_key_and_all_that_each_call_has() -> None:
    with serving(saying(listing(MODELS))) as server:
        options = {"query": {"api-version": "7"}, "headers": {"X-Team": "t"}, "auth": "header:api-key"}
        given = {"base_url": f"{server.url}/v1", "api_key_env": "THE_KEY"} | options
        list(check_provider(provider_settings("openai", given), {"THE_KEY": KEY}, "gpt-6-luna"))

        (request,) = server.requests
        assert request.startswith(b"GET ")
        assert target(request) == b"/v1/models?api-version=7"
        assert (header(request, b"api-key"), header(request, b"x-team")) == (KEY.encode(), b"t")


def test_the_end_of_a_model_is_told_before_it_comes() -> None:
    soon = (datetime.now(UTC).date() + timedelta(days=30)).isoformat()
    rows = [{"id": "m-1", "shutdown_date": soon}, {"id": "m-2", "shutdown_date": None}]

    assert ("warning", f"openai ends m-1 in 30 days, on {soon}. Take another model in time") in found(
        checks_of(listing({"data": rows}), "m-1"), "model"
    )
    assert found(checks_of(listing({"data": rows}), "m-2"), "model") == [("ok", "m-2 is in the provider's list")]


@pytest.mark.parametrize(
    ("header_value", "level"),
    [
        ("Tue, 01 Dec 2026 12:00:30 GMT", "ok"),
        ("Tue, 01 Dec 2026 12:05:00 GMT", "warning"),
        ("Tue, 01 Dec 2026 11:00:00 GMT", "warning"),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_clock_is_compared_with_the_providers(header_value: str, level: str | None) -> None:
    checks = list(check_clock(header_value, datetime(2026, 12, 1, 12, 0, tzinfo=UTC)))

    assert [check.level.value for check in checks] == ([] if level is None else [level])


def test_similar_names_are_the_same_model_under_another_prefix_or_suffix_first() -> None:
    names = ("openai/gpt-6-luna", "gpt-6-luna-batch", "claude-haiku-5-5", "gpt-6-sol")
    known = ModelList(models=[ListedModel(id=name, ends_on=date(2027, 1, 1)) for name in names], is_complete=True)

    assert known.similar("gpt-6-luna")[:2] == ["openai/gpt-6-luna", "gpt-6-luna-batch"]
    assert known.similar("something-else") == []
