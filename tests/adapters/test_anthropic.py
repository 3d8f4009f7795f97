"""Anthropic's dialect: request bodies, the batch object, and how a lost batch is found in a list without marks.

Bodies are checked against the vendor's own types in tests/gateway/test_anthropic_bodies.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import orjson
import pytest

from orchestrator.domain.batch import LostCreate
from orchestrator.domain.errors import (
    BadRequest,
    ConfigError,
    CreateAmbiguous,
    CreateRefused,
    NotAuthorized,
    RateLimited,
    TooLarge,
    Unavailable,
    Unidentified,
)
from orchestrator.domain.model import AttemptToken, BatchId, Outcome
from orchestrator.domain.results_at import ALL_RESULTS, ResultRef, Urls
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from tests.adapters.openai_wire import a_submission
from tests.adapters.wire import Answers
from tests.fakes.dialects import a_dialect, anthropic

ADDRESS: Final = "https://93.184.216.34/v1"
KEY: Final = "sk-canary-5f4dcc3b5aa765d6"
BATCH: Final = BatchId("msgbatch_1")
SENT_AT: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
MODEL: Final = "claude-haiku-5-5"
SCHEMA: Final = {"type": "object", "properties": {"mood": {"type": "string"}}}
TOOL: Final = {"name": "look", "description": "Look.", "input_schema": {"type": "object"}}


def body(request: dict[str, Any], **options: Any) -> dict[str, Any]:
    given = {"model": MODEL, "max_tokens": 9} | ({} if "messages" in request else {"prompt": "{text}"}) | request
    made = a_dialect("anthropic", **options).request_body(given)
    assert (made.pop("model"), made.pop("max_tokens")) == (given["model"], given["max_tokens"])
    return made


# Request bodies

ASKED: Final = [{"role": "user", "content": "{text}"}]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, {}),
        ({"system": "Be brief."}, {"system": "Be brief."}),
        ({"messages": [{"role": "system", "content": "Be brief."}, *ASKED]}, {"system": "Be brief."}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}},
                    }
                ]
            },
            {"tools": [TOOL]},
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": {"type": "any"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            {"tool_choice": {"type": "tool", "name": "look"}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "m", "strict": True, "schema": SCHEMA},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}),
        (
            {"reasoning_effort": "max", "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"output_config": {"effort": "max", "format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"metadata": {"user_id": "{id}"}}, {"metadata": {"user_id": "{id}"}}),
    ],
)
def test_a_neutral_field_becomes_the_messages_apis_own(request_: dict[str, Any], expected: dict[str, Any]) -> None:
    """Table B0 of the providers' facts, and the types of anthropic 2.14.0."""
    assert body(request_) == {"messages": ASKED} | expected


@pytest.mark.parametrize(
    ("request_", "key", "way_out"),
    [
        ({"max_tokens": 0}, "max_tokens", "Set request.max_tokens"),
        ({"temperature": 0.0}, "temperature", "Leave it out"),
        ({"top_p": 1}, "top_p", "Leave it out"),
        ({"model": "claude-opus-4-6", "top_k": 5}, "top_k", 'set provider.version = "2023-06-01"'),
        ({"stream": False}, "stream", "Leave it out"),
        ({"seed": 7}, "seed", "provider.accepts"),
        ({"n": 2}, "n", "provider.accepts"),
        ({"metadata": {"run": "1"}}, "metadata.run", "provider.accepts"),
        ({"response_format": {"type": "json_object"}}, "response_format", "a JSON schema"),
        ({"reasoning_effort": "none"}, "reasoning_effort", "low, medium, high"),
        ({"stop": "a", "stop_sequences": ["b"]}, "stop", "Give one of them"),
        ({"system": "a", "messages": [{"role": "system", "content": "b"}, *ASKED]}, "system", "Give one of them"),
        ({"messages": [*ASKED, {"role": "system", "content": "b"}]}, "messages[1]", "request.system"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]", "Known"),
        ({"messages": [{"role": "assistant", "content": [{"type": "document"}]}]}, "messages[0].content[0]", "Known"),
    ],
)
def test_what_would_be_refused_row_by_row_is_refused_before_anything_is_sent(
    request_: dict[str, Any], key: str, way_out: str
) -> None:
    """The error names the key, the model and what to do. Source: notes on API version 2026-10-21."""
    with pytest.raises(ConfigError) as refused:
        body(request_)

    message = str(refused.value)
    assert message.startswith(f"request.{key} cannot be sent to {request_.get('model', MODEL)}: ")
    assert way_out in message


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-haiku-4-5-20251001", True),
        ("claude-opus-4-6", True),
        ("claude-3-5-sonnet-20241022", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-opus-4-7", False),
        ("claude-haiku-5-5", False),
        ("claude-next", False),
    ],
)
def test_sampling_is_for_the_old_version_and_for_models_up_to_4_6(model: str, *, takes: bool) -> None:
    request = {"model": model, "temperature": 0.5}
    if takes:
        assert body(request, version="2023-06-01")["temperature"] == 0.5
    else:
        with pytest.raises(ConfigError, match=f"request.temperature cannot be sent to {model}"):
            body(request, version="2023-06-01")
    assert body(request, accepts=["temperature"])["temperature"] == 0.5


def test_the_version_is_a_header_of_every_request_and_a_date() -> None:
    assert a_dialect("anthropic").headers == {"anthropic-version": "2026-10-21"}
    assert a_dialect("anthropic", version="2023-06-01").headers == {"anthropic-version": "2023-06-01"}
    with pytest.raises(ConfigError, match="version must be a date"):
        a_dialect("anthropic", version="newest")


# The batch object


def provider_at(*answers: Any, transport: httpx.BaseTransport | None = None) -> Any:
    return anthropic(HttpClient(ADDRESS, Secret(KEY), transport=transport or Answers(*answers)))


def a_batch(
    batch_id: str = BATCH, *, made_s: float = 1.0, count: int = 2, status: str = "in_progress", **fields: Any
) -> dict[str, Any]:
    """Return a batch object as the vendor's type has it, made so many seconds after the create was sent."""
    made_at = SENT_AT + timedelta(seconds=made_s)
    running = status != "ended"
    counts = {"processing": count if running else 0, "succeeded": 0 if running else count}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts | {"errored": 0, "canceled": 0, "expired": 0},
        "created_at": made_at.isoformat().replace("+00:00", "Z"),
        "expires_at": (made_at + timedelta(days=1)).isoformat(),
        "results_url": None if running else f"/v1/messages/batches/{batch_id}/results",
    } | fields


@pytest.mark.parametrize("status", ["in_progress", "canceling", "some_new_word"])
def test_a_batch_runs_until_it_has_ended(status: str) -> None:
    found = provider_at((200, orjson.dumps(a_batch(status=status)))).status(BATCH)

    assert (found.is_running, found.results) == (True, None)


@pytest.mark.parametrize(
    ("counts", "outcome", "done", "failed"),
    [
        ({"succeeded": 3, "errored": 2}, Outcome.COMPLETED, 3, 2),
        ({"succeeded": 3, "canceled": 2}, Outcome.CANCELLED, 3, 2),
        ({"succeeded": 1, "expired": 4}, Outcome.EXPIRED, 1, 4),
    ],
)
def test_an_ended_batch_has_a_line_for_each_request_whatever_became_of_it(
    counts: dict[str, int], outcome: Outcome, done: int, failed: int
) -> None:
    found = provider_at((200, orjson.dumps(a_batch(status="ended", request_counts=counts)))).status(BATCH)

    url = f"/v1/messages/batches/{BATCH}/results"
    assert (found.outcome, found.done_count, found.failed_count) == (outcome, done, failed)
    assert found.results == Urls(refs=(ResultRef(name=ALL_RESULTS, at=url, line_count=5),))


@pytest.mark.parametrize(
    ("results_url", "has_key"),
    [
        (f"{ADDRESS}/messages/batches/{BATCH}/results", True),
        (f"/v1/messages/batches/{BATCH}/results", True),
        ("https://1.1.1.1/r", False),
    ],
)
def test_a_results_url_is_followed_and_gets_the_key_at_our_origin_only(results_url: str, *, has_key: bool) -> None:
    transport = Answers((200, orjson.dumps(a_batch(status="ended", results_url=results_url))), (200, line("a")))
    provider = provider_at(transport=transport)

    for file in provider.results(BATCH, provider.status(BATCH).results):
        assert b"".join(file.blocks) == line("a")

    asked = transport.requests[1]
    assert ("authorization" in asked.headers) == has_key
    assert asked.extensions["target"].decode() == results_url.removeprefix("https://93.184.216.34").removeprefix(
        "https://1.1.1.1"
    )


def test_a_batch_whose_results_were_archived_has_none() -> None:
    archived = a_batch(status="ended", results_url=None, archived_at="2026-12-29T12:00:00Z")
    assert provider_at((200, orjson.dumps(archived))).status(BATCH).results is None


# Errors


def an_error(kind: str, code: str | None = None) -> bytes:
    """Return an error as the vendor's types have it."""
    details = {"details": {"error_code": code}} if code else {}
    error = {"type": kind, "message": "words for people", **details}
    return orjson.dumps({"type": "error", "error": error, "request_id": "req_1"})


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected"),
    [
        (429, "rate_limit_error", "enforced_spend_limit_reached", NotAuthorized),
        (429, "rate_limit_error", "contract_spend_limit_reached", NotAuthorized),
        (402, "billing_error", None, NotAuthorized),
        (429, "rate_limit_error", "ramp_limit_exceeded", RateLimited),
        (429, "rate_limit_error", None, RateLimited),
        (413, "request_too_large", None, TooLarge),
        (400, "invalid_request_error", None, BadRequest),
    ],
)
def test_a_refused_create_says_whose_fault_it_is(
    status: int, kind: str, code: str | None, expected: type[Exception]
) -> None:
    """A spend limit is a 429 that waiting does not lift: it pauses the account. Source: types of anthropic 2.14.0."""
    provider = provider_at((status, an_error(kind, code), {"request-id": "req_1", "retry-after": "7"}))
    with pytest.raises(CreateRefused) as refused:
        provider.create(a_submission())

    error = refused.value.error
    assert type(error) is expected
    assert error.request_id == "req_1"
    shown = "words for people" if status == 402 else code or kind  # what a 402 says is about money, and no row
    assert shown in str(error)
    assert ("words for people" in str(error)) == (status == 402)
    assert error.retry_after_s == (7 if expected is RateLimited else None)


@pytest.mark.parametrize(("status", "kind"), [(500, "api_error"), (529, "overloaded_error"), (504, "timeout_error")])
def test_a_create_that_the_server_failed_is_ambiguous(status: int, kind: str) -> None:
    with pytest.raises(CreateAmbiguous):
        provider_at((status, an_error(kind))).create(a_submission())


# Result lines


@pytest.mark.parametrize(
    ("result", "code", "retryable"),
    [
        ({"type": "errored", "error": orjson.loads(an_error("invalid_request_error"))}, "invalid_request_error", False),
        ({"type": "errored", "error": orjson.loads(an_error("overloaded_error"))}, "overloaded_error", True),
        ({"type": "errored", "error": orjson.loads(an_error("api_error"))}, "api_error", True),
        ({"type": "canceled"}, "canceled", True),
        ({"type": "expired"}, "expired", True),
    ],
)
def test_a_request_without_an_answer_is_sent_again_unless_it_is_invalid(
    result: dict[str, Any], code: str, *, retryable: bool
) -> None:
    """The guide: invalid requests must be changed, others may be sent again as they are."""
    _, answer = a_dialect("anthropic").read_line(orjson.dumps({"custom_id": "a", "result": result}), keep_raw=False)

    assert (answer.succeeded, answer.error_code, answer.retryable) == (False, code, retryable)


@pytest.mark.parametrize(
    ("stop_reason", "content", "text"),
    [("end_turn", "good", "good"), ("max_tokens", "goo", "goo"), ("refusal", "", "")],
)
def test_refusals_and_cut_answers_come_as_answers(stop_reason: str, content: str, text: str) -> None:
    message = {"type": "message", "content": [{"type": "text", "text": content}] if content else []}
    message |= {"stop_reason": stop_reason, "usage": {"input_tokens": 7, "output_tokens": 2}}
    line = orjson.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}})

    _, answer = a_dialect("anthropic").read_line(line, keep_raw=False)

    assert (answer.text or "", answer.input_tokens, answer.output_tokens) == (text, 7, 2)
    assert answer.finish_reason == stop_reason


# Finding a lost batch

OURS: Final = ("0123abcd-0-0", "0123abcd-0-1")


def line(name: str) -> bytes:
    return orjson.dumps({"custom_id": name, "result": {"type": "canceled"}}) + b"\n"


def response(status: int, content: bytes) -> httpx.Response:
    return httpx.Response(status, headers={"content-length": str(len(content))}, stream=httpx.ByteStream(content))


class Workspace(httpx.BaseTransport):
    """No network: these batches, newest first, and the results of each."""

    def __init__(self, *batches: dict[str, Any], results: dict[str, bytes] | None = None, page: int = 1_000) -> None:
        self.batches, self.results, self.page = batches, results or {}, page
        self.calls: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions["target"].decode()
        self.calls.append(target)
        path, _, query = target.partition("?")
        if path == "/v1/messages/batches":
            after = httpx.QueryParams(query).get("after_id")
            start = [batch["id"] for batch in self.batches].index(after) + 1 if after else 0
            data = self.batches[start : start + self.page]
            has_more = start + self.page < len(self.batches)
            return response(200, orjson.dumps({"data": data, "has_more": has_more}))
        content = self.results.get(path.removeprefix("/v1/messages/batches/").removesuffix("/results"))
        return response(404 if content is None else 200, content or b"")


def lost(**fields: Any) -> LostCreate:
    day = timedelta(hours=26)
    known: dict[str, Any] = {
        "token": AttemptToken("t"),
        "since": SENT_AT - day,
        "until": SENT_AT + day,
        "request_count": 2,
        "custom_ids": lambda: frozenset(OURS),
    }
    return LostCreate(**known | fields)


def found(*batches: dict[str, Any], results: dict[str, bytes] | None = None, **fields: Any) -> list[str] | None:
    batches_found = provider_at(transport=Workspace(*batches, results=results)).find(lost(**fields))
    return None if batches_found is None else [batch.batch_id for batch in batches_found]


def ended(name: str, **fields: Any) -> dict[str, Any]:
    return a_batch(name, status="ended", **fields)


THEIRS: Final = line("ffffffff-0-0") + line("ffffffff-0-1")
MINE: Final = line(OURS[1]) + line(OURS[0])


def test_a_batch_is_ours_if_its_results_name_our_requests() -> None:
    assert found(ended("b"), ended("a"), results={"a": MINE, "b": THEIRS}) == ["a"]


def test_most_of_the_names_in_the_results_decide() -> None:
    """A stray line makes a batch neither ours nor another's."""
    stray = line("ffffffff-0-7")

    assert found(ended("a"), results={"a": MINE + stray}) == ["a"]
    assert found(ended("b"), results={"b": THEIRS + stray + line(OURS[0])}) == []


def test_a_batch_of_another_time_or_size_or_create_is_not_meant_and_its_results_are_not_read() -> None:
    days = 86_400.0
    others = (a_batch("later", made_s=2 * days), a_batch("other_size", count=3), a_batch("known"))
    workspace = Workspace(*others, a_batch("earlier", made_s=-2 * days))

    assert provider_at(transport=workspace).find(lost(known=lambda: {BatchId("known")})) == []
    assert workspace.calls == ["/v1/messages/batches?limit=1000"]


def test_while_a_batch_that_may_be_ours_runs_nobody_can_say() -> None:
    """Neither adopted, which would be a guess, nor taken for absent, which would pay twice."""
    with pytest.raises(Unavailable, match=r"batch a has as many requests .* once it has ended, its results tell"):
        found(a_batch("a"), ended("b"), results={"b": THEIRS})


def test_a_batch_that_cannot_be_read_may_be_ours() -> None:
    for odd in ({"request_counts": None}, {"created_at": "yesterday"}, {"processing_status": None}):
        with pytest.raises(Unavailable):
            found(a_batch("a", **odd))


@pytest.mark.parametrize("results", [{}, {"a": b""}, {"a": b"{}\nnull\n\xff\n"}])
def test_an_ended_batch_whose_results_name_nothing_can_never_be_told(results: dict[str, bytes]) -> None:
    with pytest.raises(Unidentified, match=r"batch a .* no results that tell whose it is"):
        found(ended("a"), results=results)


def test_what_is_ours_is_found_whatever_else_cannot_be_told() -> None:
    assert found(a_batch("running"), ended("gone"), ended("a"), results={"a": MINE}) == ["a"]


def test_two_batches_of_one_create_are_found_oldest_first() -> None:
    assert found(ended("b", made_s=5), ended("a", made_s=3), results={"a": MINE, "b": MINE}) == ["a", "b"]


def test_under_another_key_a_batch_with_our_requests_is_ours_and_nothing_proves_that_there_is_none() -> None:
    assert found(is_other_key=True) is None
    assert found(ended("a"), results={"a": MINE}, is_other_key=True) == ["a"]


def test_the_list_is_read_page_by_page_back_to_the_time_asked_for() -> None:
    batches = [ended(f"b{number}", made_s=-40_000.0 * number, count=3) for number in range(6)]
    workspace = Workspace(*batches, page=2)

    assert provider_at(transport=workspace).find(lost()) == []
    assert workspace.calls == [
        "/v1/messages/batches?limit=1000",
        "/v1/messages/batches?limit=1000&after_id=b1",
        "/v1/messages/batches?limit=1000&after_id=b3",
    ]
