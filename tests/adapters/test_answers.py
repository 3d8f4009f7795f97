"""What an answer means: which error it is, and whether a create can have made something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    NotAuthorized,
    RateLimited,
    TooLarge,
    TransientError,
    Unavailable,
)
from orchestrator.providers.http.error_mapping import Answer, create_failure, error_of, problem_of, retry_after_s
from orchestrator.providers.http.secret import Secret

KEY = Secret("sk-canary-9f86d081884c7d65")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def a_problem(status: int, content: object = None, **headers: str) -> Any:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    problem = problem_of(Answer(status=status, body=body, headers=headers), KEY)
    assert problem is not None
    return problem


def an_error(code: object, message: str = "no", **more: object) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": "", "param": "", **more}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Unavailable),
        (400, BadRequest),
        (401, NotAuthorized),
        (402, NotAuthorized),
        (403, NotAuthorized),
        (404, BadRequest),
        (405, BadRequest),
        (408, Unavailable),
        (409, Unavailable),
        (410, BadRequest),
        (413, TooLarge),
        (422, BadRequest),
        (429, RateLimited),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (529, Unavailable),
    ],
)
def test_each_status_is_one_error(status: int, expected: type[Exception]) -> None:
    """And the same, where it stands in the envelope of a 200."""
    error = error_of(a_problem(status))
    assert (type(error), error.status) == (expected, status)

    if status >= 400:
        assert type(error_of(a_problem(200, an_error(status)))) is expected
        assert type(error_of(a_problem(200, {"code": status, "message": "no"}))) is expected


def test_what_existed_is_gone() -> None:
    for status in (403, 404, 410):
        assert type(error_of(a_problem(status), gone=(403, 404, 410))) is Gone
    assert type(error_of(a_problem(401), gone=(403, 404, 410))) is NotAuthorized


def test_a_429_for_want_of_credit_concerns_the_account() -> None:
    """OpenAI says 429 to an account without money: waiting does not cure it."""
    assert type(error_of(a_problem(429, an_error("insufficient_quota")))) is NotAuthorized


def test_an_enqueued_token_limit_is_a_limit_even_as_a_400() -> None:
    assert type(error_of(a_problem(400, an_error("token_limit_exceeded")))) is RateLimited


@pytest.mark.parametrize(
    "content",
    [{}, {"batch_id": "b"}, {"error": ""}, {"error": None}, {"error": {}}, {"error": "words"}, {"code": 0}, []],
)
def test_an_answer_without_an_error_is_no_problem(content: object) -> None:
    assert problem_of(Answer(status=200, body=orjson.dumps(content)), KEY) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (an_error(400, "bad field"), "HTTP 400: bad field"),
        ({"error": {"message": "bad field", "code": "bad_code", "param": "model"}}, "HTTP 400: bad field"),
        ({"error": "bad field"}, "HTTP 400: bad field"),
        ({"code": 400, "message": "bad field"}, "HTTP 400: bad field"),
        ({"message": "bad field"}, "HTTP 400: bad field"),
        ({"detail": [{"loc": ["body"], "msg": "bad field", "input": "a row"}]}, "HTTP 400: bad field"),
        (b"bad\r\nfield", "HTTP 400: bad field"),
        (b"<html><head><title>Bad &amp; worse</title></head><body>a row</body></html>", "HTTP 400: Bad & worse"),
        (b"<html>a row</html>", ""),
        (b'{"cut', ""),
        (b"", ""),
        (an_error(400, "bad key sk-canary-9f86d081884c7d65"), "HTTP 400: bad key ***"),
    ],
)
def test_the_providers_own_words_stand_apart_from_the_message(content: object, expected: str) -> None:
    """They may quote a row: neither the message nor what prints of an error holds them."""
    problem = a_problem(400, content)
    error = error_of(problem)
    failure = create_failure(problem)

    assert error.provider_message == expected
    assert isinstance(failure, CreateRefused)
    assert failure.error.provider_message == expected
    assert "bad " not in f"{error!r} {error} {failure!r} {problem!r}".lower()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            {"code": "model_not_found", "type": "invalid_request_error"},
            "HTTP 400: model_not_found, invalid_request_error",
        ),
        ({"code": "invalid", "type": "invalid"}, "HTTP 400: invalid"),
        ({"code": "bad_value", "param": "messages[0].content"}, "HTTP 400: bad_value, parameter messages[0].content"),
        ({"code": 1210, "type": None}, "HTTP 400: 1210"),
        ({"code": "400"}, "HTTP 400"),
        ({"code": "a row", "type": "row\n", "param": "the row"}, "HTTP 400"),
        ({"code": "r" * 65, "type": "'row'", "param": "r" * 65}, "HTTP 400"),
        ({"code": 15550123456, "type": {"row": "row"}, "param": ["row"]}, "HTTP 400"),
        ({"code": KEY.reveal()}, "HTTP 400: ***"),
    ],
)
def test_a_message_says_the_status_and_what_is_said_for_machines_where_it_looks_like_a_name(
    error: dict[str, Any], expected: str
) -> None:
    assert str(error_of(a_problem(400, {"error": {"message": "a row", **error}}))) == expected
    assert str(error_of(a_problem(400, {"message": "a row", **error}))) == expected


@pytest.mark.parametrize("status", [401, 402])
def test_who_refuses_the_key_or_asks_for_money_quotes_no_row_and_is_heard(status: int) -> None:
    assert str(error_of(a_problem(status, an_error("billing", "no credit left")))) == f"HTTP {status}: no credit left"


@pytest.mark.parametrize("status", [400, 403, 408, 409, 413, 422, 429, 500, 503])
def test_no_other_status_brings_the_words_into_a_message(status: int) -> None:
    problem = a_problem(status, an_error("code", "a row"))

    assert str(error_of(problem)) == f"HTTP {status}: code"
    assert str(create_failure(problem)) == f"HTTP {status}: code"
    assert create_failure(problem).args == (f"HTTP {status}: code",)


def test_an_error_bears_the_request_id_and_the_wait() -> None:
    error = error_of(a_problem(429, None, **{"x-request-id": "req-1", "retry-after": "7"}))

    assert isinstance(error, TransientError)
    assert (error.request_id, error.retry_after_s) == ("req-1", 7.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("999999999", 86_400.0),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, expected: float | None) -> None:
    assert retry_after_s({"retry-after": text}, NOON) == expected


def test_retry_after_is_counted_by_the_servers_own_clock() -> None:
    headers = {"retry-after": "Sun, 22 Nov 2026 15:00:10 GMT", "date": "Sun, 22 Nov 2026 15:00:00 GMT"}
    assert retry_after_s(headers, NOON) == 10.0


DOUBTFUL_4XX = {408, 409}


def test_a_create_is_refused_by_a_4xx_but_408_and_409() -> None:
    for status in range(300, 600):
        expected = CreateRefused if 400 <= status < 500 and status not in DOUBTFUL_4XX else CreateAmbiguous
        assert type(create_failure(a_problem(status))) is expected, status

        if status >= 400:
            for content in (an_error(status), {"code": status, "message": "no"}):
                assert type(create_failure(a_problem(200, content))) is expected, content


@pytest.mark.parametrize("content", [an_error(None), an_error("invalid"), an_error(503), an_error(7)])
def test_a_200_with_an_error_that_is_no_plain_refusal_leaves_it_ambiguous(content: object) -> None:
    assert type(create_failure(a_problem(200, content))) is CreateAmbiguous


@pytest.mark.parametrize("code", [408, 409, 500, 504])
def test_a_refusal_that_speaks_of_a_fault_behind_it_proves_nothing(code: int) -> None:
    assert type(create_failure(a_problem(400, an_error(code, "upstream timed out")))) is CreateAmbiguous


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("too many requests in the batch", TooLarge),
        ("Batch is too large: 60 MB", TooLarge),
        ("request_too_large", TooLarge),
        ("The number of requests exceeds the limit of 5000", TooLarge),
        ("The batch file is larger than the maximum file size", TooLarge),
        ("max_tokens is too large: 100000", BadRequest),
        ("messages is missing", BadRequest),
        ("Enqueued token limit reached: the batch exceeds the limit", RateLimited),
    ],
)
def test_a_400_that_finds_the_batch_too_large_says_so(message: str, expected: type[Exception]) -> None:
    """And one request's fault is not taken for it: no smaller batch would cure that."""
    failure = create_failure(a_problem(400, an_error(400, message)))

    assert isinstance(failure, CreateRefused)
    assert type(failure.error) is expected
