"""OneRouter's dialect: against its documents, both of them, and what it might do beside them."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.batch import BatchStatus, Submission
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    NotAuthorized,
    OrchestratorError,
    ProviderError,
    RateLimited,
    TooLarge,
    Unavailable,
)
from orchestrator.domain.model import AttemptToken, BatchId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import ALL_RESULTS, Inline, ResultRef, ResultsAt, Urls
from orchestrator.ports import Provider
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.inline_create import enveloped
from orchestrator.providers.onerouter.provider import HEAD_BYTES_MAX, OneRouter
from tests.adapters.wire import (
    Answers,
    Connection,
    answer,
    as_body,
    create_at,
    header,
    poll_at,
    saying,
    saying_last,
    serving,
    target,
)
from tests.fakes.dialects import onerouter
from tests.gateway_process import API_KEY, running_gateway

KEY: Final = "sk-canary-9f86d081884c7d65"
BATCH: Final = BatchId("batch_a34c321b-ed4b-4e91-ae29-7f02939d8962")
RESULT_URL: Final = "https://93.184.216.34/batch-llm/azure-batch%2Fbatch_a34c_6ab0397c.jsonl"
TIMEOUTS: Final = Timeouts(connect_s=10.0, read_s=10.0, write_s=10.0, call_s=15.0, create_s=15.0, download_s=15.0)
LINE: Final = b'{"custom_id":"j-0-1","response":{"status_code":200,"body":{}},"error":null}\n'

# As printed in the documents.
CREATED: Final[dict[str, Any]] = {
    "batch": {
        "cancelled_at": None,
        "completion_window": "24h",
        "created_at": 1765972352,
        "endpoint": "",
        "error_file_id": "",
        "errors": None,
        "expires_at": 1766058749,
        "id": BATCH,
        "input_file_id": "file-142b17fbff7d4a06a88ec9205ae143c9",
        "metadata": None,
        "object": "batch",
        "output_file_id": "",
        "request_counts": {"completed": 0, "failed": 0, "total": 0},
        "status": "validating",
    },
    "batch_id": BATCH,
    "file": {"bytes": 802, "filename": "batch.jsonl", "id": "file-142b17fb", "object": "file", "status": "processed"},
    "file_id": "file-142b17fbff7d4a06a88ec9205ae143c9",
    "task_id": 2,
    "task_status": "NOT_START",
}
STATUS: Final[dict[str, Any]] = {
    "batch_id": BATCH,
    "completed_count": 3,
    "completion_tokens": 1644,
    "error": "",
    "fail_reason": "",
    "failed_count": 0,
    "fees": "0.000497000",
    "finish_time": 1765972493,
    "model": "gpt-4o-mini-batch",
    "progress": "100%",
    "prompt_tokens": 54,
    "result_url": RESULT_URL,
    "start_time": 0,
    "status": "SUCCESS",
    "submit_time": 1765972352,
    "task_id": 2,
    "total_requests": 3,
    "total_tokens": 1698,
}
RUNNING: Final = STATUS | {"status": "IN_PROGRESS", "result_url": "", "completed_count": 1, "progress": "40%"}


def a_submission(*lines: bytes, blocks: list[bytes] | None = None) -> Submission:
    content = b"".join(line + b"\n" for line in lines or (b'{"custom_id":"a","params":{}}',))
    return Submission(
        token=AttemptToken("0" * 32),
        request_count=len(lines) or 1,
        size_bytes=len(content),
        blocks=lambda: iter(blocks if blocks is not None else [content]),
    )


@contextlib.contextmanager
def a_provider(url: str = "https://93.184.216.34", **settings: Any) -> Iterator[OneRouter]:
    http = HttpClient(f"{url}/v1", Secret(KEY), **({"timeouts": TIMEOUTS} | settings))
    try:
        yield onerouter(http)
    finally:
        http.close()


def created(status: int, content: object, **headers: str) -> BatchId | OrchestratorError:
    """Create against one answer, and return what came of it."""
    return create_at(a_provider, a_submission(), status, content, headers)


def polled(content: object, status: int = 200) -> BatchStatus:
    return poll_at(a_provider, BATCH, status, content)


def at_url(url: str, line_count: int | None = None) -> Urls:
    return Urls(refs=(ResultRef(name=ALL_RESULTS, at=url, line_count=line_count),))


def collected(provider: OneRouter, where: ResultsAt | str) -> bytes:
    if isinstance(where, str):
        where = at_url(where)
    (content,) = [b"".join(file.blocks) for file in provider.results(BATCH, where)]
    return content


def test_it_is_a_provider_that_cannot_be_asked_and_takes_no_files() -> None:
    with a_provider(transport=Answers((200, b""))) as provider:
        port: Provider = provider
        traits = port.traits

        assert (traits.name, traits.recovery) == ("onerouter", Recovery.UNKNOWABLE)
        assert traits.settle_s > TIMEOUTS.create_s
        assert port.files is None
        assert port.batch_list is None


# Create


def test_a_create_is_one_post_of_the_documented_shape() -> None:
    lines = [b'{"custom_id":"a","params":{"x":"\\n,"}}', b'{"custom_id":"b","params":{}}']
    with serving(saying(answer(200, orjson.dumps(CREATED)))) as server, a_provider(server.url) as provider:
        assert provider.create(a_submission(*lines)) == BATCH

        (request,) = server.requests
        body = request.partition(b"\r\n\r\n")[2]
        assert request.startswith(b"POST /v1/batches HTTP/1.1\r\n")
        assert header(request, b"authorization") == b"Bearer " + KEY.encode()
        assert orjson.loads(body) == {"requests": [orjson.loads(line) for line in lines]}


@given(st.lists(st.integers(), min_size=1, max_size=8), st.lists(st.integers(0, 60), max_size=8))
def test_the_body_is_the_same_wherever_the_blocks_are_cut(values: list[int], cuts: list[int]) -> None:
    content = b"".join(orjson.dumps({"custom_id": str(value)}) + b"\n" for value in values)
    ends = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    blocks = [content[start:end] for start, end in pairwise(ends)]

    body = b"".join(enveloped(iter(blocks)))

    assert orjson.loads(body)["requests"] == [{"custom_id": str(value)} for value in values]
    assert len(body) == len(b'{"requests":[]}') + len(content) - 1


def test_nothing_of_the_body_comes_before_the_first_line_is_read() -> None:
    """A request file that cannot be read must fail while nothing is in doubt."""
    read = []

    def blocks() -> Iterator[bytes]:
        read.append(1)
        yield b"{}\n"

    body = enveloped(blocks())
    assert next(body) == b'{"requests":['
    assert read == [1]


@pytest.mark.parametrize(
    "content",
    [
        CREATED,
        {"batch_id": BATCH},
        {"batch_id": "", "batch": {"id": BATCH}},
        {"batch": {"id": BATCH}},
        CREATED | {"error": {"code": 500, "message": "but it is there"}},
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_batch_id_in_the_answer_is_the_batch(content: object, status: int) -> None:
    assert created(status, content) == BATCH


# QuantumNous/new-api, middleware/distributor.go: before anything is passed on.
NO_CHANNEL = "No available channel for model gpt-x under group default (distributor)"
NO_PROVIDER = "There is no available model provider that meets your routing requirements"


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, {"batch_id": ""}),
        (200, {"task_id": 2}),
        (200, {"error": {"code": 500, "message": "no"}}),
        (200, {"error": {"message": "no"}}),
        (408, {"error": {"code": 408, "message": "no"}}),
        (409, {"error": {"code": 409, "message": "no"}}),
        (500, {"error": {"code": 500, "message": NO_PROVIDER}}),
        (503, b"no provider meets your routing requirements"),
        (503, {"error": {"code": 503, "message": "overloaded"}}),
        (503, {"error": {"code": 503, "message": "no response from provider is available yet"}}),
        (503, {"error": {"code": 503, "message": "no provider answered in time"}}),
    ],
)
def test_an_answer_that_is_no_certain_refusal_is_ambiguous(status: int, content: object) -> None:
    assert type(created(status, content)) is CreateAmbiguous


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("message", [NO_PROVIDER, "no provider meets routing", "No providers available", NO_CHANNEL])
def test_no_provider_is_documented_as_nothing_created(status: int, message: str) -> None:
    failure = created(status, {"error": {"code": 503, "message": message}})

    assert isinstance(failure, CreateRefused)
    assert type(failure.error) is Unavailable


@pytest.mark.parametrize(
    "batch_id", ["../files", "..", "a/../b", "%2e%2e/x", " b", "b\n", "b\x7f", "\u202eb", "/", "b" * 1_025]
)
def test_an_id_that_would_be_another_path_is_not_used(batch_id: str) -> None:
    failure = created(200, {"batch_id": batch_id})

    assert isinstance(failure, CreateAmbiguous)
    assert "no id that is surely a batch's" in str(failure)
    with a_provider(transport=Answers((200, b"{}"))) as provider:
        for act in (provider.status, provider.cancel, lambda b: next(provider.results(b, Inline()))):
            with pytest.raises(BadRequest, match="unusable id"):
                act(BatchId(batch_id))


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (401, "bad key", NotAuthorized),
        (402, "no credits", NotAuthorized),
        (413, "", TooLarge),
        (400, "too many requests in one batch, at most 5000", TooLarge),
        (400, "no model", BadRequest),
        (429, "slow down", RateLimited),
    ],
)
def test_a_refusal_says_why(status: int, message: str, expected: type[ProviderError]) -> None:
    failure = created(status, {"error": {"code": status, "message": message}}, **{"retry-after": "9"})

    assert isinstance(failure, CreateRefused)
    assert type(failure.error) is expected
    assert failure.error.status == status
    assert message in failure.error.provider_message
    assert (message in str(failure.error)) is (status in (401, 402, 413))
    if isinstance(failure.error, RateLimited):
        assert failure.error.retry_after_s == 9.0


# Status


def test_the_documented_status_object_is_read() -> None:
    assert polled(STATUS) == BatchStatus(
        word="SUCCESS",
        outcome=Outcome.COMPLETED,
        results=at_url(RESULT_URL, 3),
        done_count=3,
        fees_usd=Decimal("0.000497000"),
    )


def test_a_status_printed_over_many_lines_is_a_status() -> None:
    assert polled(orjson.dumps(STATUS, option=orjson.OPT_INDENT_2)).results == at_url(RESULT_URL, 3)
    assert polled(orjson.dumps(RUNNING, option=orjson.OPT_APPEND_NEWLINE)).is_running


OUTCOMES: Final = {
    "SUCCESS": Outcome.COMPLETED,
    "completed": Outcome.COMPLETED,
    "ENDED": Outcome.COMPLETED,
    "FAILURE": Outcome.FAILED,
    "failed": Outcome.FAILED,
    "Expired": Outcome.EXPIRED,
    "CANCELLED": Outcome.CANCELLED,
    "canceled": Outcome.CANCELLED,
    "done": Outcome.COMPLETED,
    "JOB_STATE_SUCCEEDED": Outcome.COMPLETED,  # Gemini
    "TIMEOUT_EXCEEDED": Outcome.EXPIRED,  # Mistral
}
RUNNING_WORDS: Final = [
    *("NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS", "UNKNOWN", "validating", "in_progress", "finalizing"),
    *("cancelling", "paused", "", "SUCCEEDING", "finalising", "JOB_STATE_RUNNING"),
]


@pytest.mark.parametrize(("word", "outcome"), [*OUTCOMES.items(), *((word, None) for word in RUNNING_WORDS)])
def test_only_a_word_known_as_an_end_ends_a_batch(word: str, outcome: Outcome | None) -> None:
    """In the status object, in OpenAI's batch object, in a create's envelope."""
    assert polled(STATUS | {"status": word}).outcome is outcome
    assert polled(CREATED["batch"] | {"status": word}).outcome is outcome
    assert polled(CREATED | {"task_status": word}).outcome is outcome


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ({"id": BATCH, "processing_status": "in_progress"}, None),
        ({"id": BATCH, "processing_status": "canceling"}, None),
        ({"id": BATCH, "processing_status": "ended"}, Outcome.COMPLETED),
        (RUNNING | {"processing_status": "canceling"}, None),
        (STATUS | {"status": "CANCELLED", "processing_status": "canceling"}, None),
        (STATUS | {"status": "CANCELLED", "processing_status": "ended"}, Outcome.CANCELLED),
        (STATUS | {"status": "TERMINATED", "processing_status": "ended"}, Outcome.COMPLETED),
    ],
)
def test_a_processing_status_is_understood(content: object, outcome: Outcome | None) -> None:
    assert polled(content).outcome is outcome


def test_a_running_batch_has_progress_and_no_results() -> None:
    status = polled(RUNNING | {"result_url": RESULT_URL, "fees": ""})

    assert (status.is_running, status.results, status.done_count, status.fees_usd) == (True, None, 1, None)
    assert polled(RUNNING | {"completed_count": 0}).done_count == 1  # 40 % of 3
    assert polled(RUNNING | {"completed_count": 0, "progress": "much", "total_requests": None}).done_count == 0


@pytest.mark.parametrize("word", ["FAILURE", "EXPIRED", "CANCELLED"])
def test_partial_results_of_a_batch_that_ended_badly_are_kept(word: str) -> None:
    assert polled(STATUS | {"status": word}).results == at_url(RESULT_URL, 3)


def test_an_older_row_keeps_its_url_in_the_fail_reason() -> None:
    """new-api's own GetResultURL falls back to that field; of a failure it is words, wherever it points."""
    status = polled(STATUS | {"result_url": "", "fail_reason": RESULT_URL})
    assert (status.results, status.error) == (at_url(RESULT_URL, 3), "")

    assert polled(STATUS | {"status": "FAILURE", "result_url": "", "fail_reason": RESULT_URL}).results is None
    assert polled(STATUS | {"result_url": ""}).results is None


@pytest.mark.parametrize(
    ("fees", "expected"),
    [
        ("0.000497000", Decimal("0.000497")),
        (0.25, Decimal("0.25")),
        (1, Decimal(1)),
        ("", None),
        (None, None),
        ("-1", None),
        ("NaN", None),
        ("1E+40", None),
        (True, None),
        ({}, None),
    ],
)
def test_fees_are_a_decimal_or_nothing(fees: object, expected: Decimal | None) -> None:
    assert polled(STATUS | {"fees": fees}).fees_usd == expected


@pytest.mark.parametrize("odd", [None, "", -3, "three", [], True, {"a": 1}])
def test_odd_fields_are_no_reason_to_fail(odd: object) -> None:
    status = polled(dict.fromkeys(STATUS, odd) | {"status": "FAILURE", "batch_id": BATCH, "request_counts": odd})
    assert (status.outcome, status.done_count, status.failed_count) == (Outcome.FAILED, 0, 0)


def test_openais_counts_and_errors_are_read_too() -> None:
    content = CREATED["batch"] | {
        "status": "failed",
        "request_counts": {"completed": 2, "failed": 1, "total": 3},
        "errors": {"object": "list", "data": [{"code": "bad_line", "message": "line 3"}]},
    }
    status = polled(content)

    assert (status.done_count, status.failed_count) == (2, 1)
    assert (status.error, status.provider_message) == ("bad_line", "bad_line: line 3")


QUEUE_FULL = {"error": "token_limit_exceeded", "fail_reason": "Enqueued token limit reached"}


@pytest.mark.parametrize(
    ("changes", "rejected"),
    [
        (QUEUE_FULL, "queue"),
        ({"errors": {"data": [{"code": "token_limit_exceeded", "message": "later"}]}}, "queue"),
        ({"fail_reason": "bad line"}, False),
        ({"fail_reason": "insufficient balance"}, "account"),
        ({"fail_reason": "No such File object: file-1"}, "platform"),
        (QUEUE_FULL | {"fees": "0.5"}, False),
        (QUEUE_FULL | {"completed_count": 1}, False),
        (QUEUE_FULL | {"failed_count": 1}, False),
        (QUEUE_FULL | {"status": "SUCCESS"}, False),
    ],
)
def test_a_batch_that_failed_for_a_known_reason_before_anything_ran_was_only_rejected(
    changes: dict[str, Any], rejected: str | bool
) -> None:
    """What this provider means by a failure is not documented: with unknown words its requests may have run."""
    failure = STATUS | {"status": "FAILURE", "completed_count": 0, "result_url": "", "fees": "0"}
    assert polled(failure | changes).rejected == (rejected or None)


def test_the_words_of_a_failure_are_cleaned() -> None:
    status = polled(STATUS | {"status": "FAILURE", "error": f"key {KEY}\x1b[0m\n", "fail_reason": "x" * 1_000})

    assert status.provider_message.startswith("key *** [0m: xxx")
    assert len(status.provider_message) == 300
    assert status.error == ""
    assert "xxx" not in repr(status)


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        LINE * 2,
        LINE.rstrip(b"\n"),
        b"\xef\xbb\xbf\r\n" + LINE,
        b'{"custom_id":null,"error":{"code":500}}\n',
        b'{"broken\n' + LINE,
        b'{"custom_id":"a","response":\n',
        b'{"custom_id":"a","response":{"body":"' + b"x" * HEAD_BYTES_MAX + b'"}}\n',
        b'{"custom_id":"a","status":"FAILURE","batch_id":"b","result":{"type":"errored"}}\n',
    ],
)
def test_a_poll_answered_with_the_results_means_that_it_has_ended(content: bytes) -> None:
    """Keys decide: one result on one line is no status object, and the other way round."""
    assert polled(content) == BatchStatus(outcome=Outcome.COMPLETED, results=Inline())


def test_a_poll_leaves_the_results_for_the_one_who_collects_them() -> None:
    def endless(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(LINE), LINE))
        connection.stopped.wait()

    with serving(endless) as server, a_provider(server.url) as provider:
        assert provider.status(BATCH).results == Inline()


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (401, b"", NotAuthorized),
        (402, b"", NotAuthorized),
        (403, b"", NotAuthorized),
        (404, b"", Gone),
        (410, b"", Gone),
        (400, b"", BadRequest),
        (429, b"", RateLimited),
        (307, b"", Unavailable),
        (408, b"", Unavailable),
        (500, b"", Unavailable),
        (200, {"error": {"code": 404, "message": "no"}}, Gone),
        (200, {"error": {"code": 502, "message": "no"}}, Unavailable),
        (200, {"error": {"message": "no"}, "status": "error"}, Unavailable),
        (200, {"code": 401, "message": "no"}, NotAuthorized),
        (200, b"", Unavailable),
        (200, b"<html>", Unavailable),
        (200, b"[]", Unavailable),
        (200, {}, Unavailable),
        (200, b'{"status":"SUCC', Unavailable),
        (200, b"x" * (HEAD_BYTES_MAX + 1), Unavailable),
    ],
)
def test_a_poll_that_failed_is_the_error_it_says(status: int, content: object, expected: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        polled(content, status)

    assert type(caught.value) is expected


# Results


def test_results_are_fetched_from_their_url_as_it_came_and_without_the_key_elsewhere() -> None:
    with (
        serving(saying(answer(200, LINE * 3))) as files,
        serving(saying(answer(500))) as server,
        a_provider(server.url) as provider,
    ):
        path = "/batch-llm/azure-batch%2Fbatch_a34c_6ab0397c.jsonl"
        assert collected(provider, files.url + path) == LINE * 3

        assert target(files.requests[0]) == path.encode()
        assert header(files.requests[0], b"authorization") is None
        assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_results_is_followed_without_the_key_elsewhere(status: int) -> None:
    """Stores redirect to the object, and to a signed URL of another host; each is checked like a result URL."""
    with (
        serving(saying(answer(200, LINE * 3))) as files,
        serving(saying(answer(status, location=f"{files.url}/x%2Fy?sig=1"), answer(302, location="b"))) as server,
        a_provider(server.url) as provider,
    ):
        assert collected(provider, "/resource/a") == LINE * 3

        assert [target(request) for request in server.requests] == [b"/resource/a"]
        assert [target(request) for request in files.requests] == [b"/x%2Fy?sig=1"]
        assert header(server.requests[0], b"authorization") == b"Bearer " + KEY.encode()
        assert header(files.requests[0], b"authorization") is None


def test_a_redirect_that_comes_back_from_another_host_does_not_get_the_key() -> None:
    """Another host must not be able to have our key sent to a path of its choice."""
    routes = {b"/v1/batches/": answer(302, location="http://127.0.0.1:1/"), b"/secret": answer(200, LINE)}

    def play(connection: Connection) -> None:
        connection.send(next(sent for path, sent in routes.items() if target(connection.request).startswith(path)))

    with serving(play) as server, a_provider(server.url) as provider:
        with serving(saying(answer(302, location=f"{server.url}/secret"))) as other:
            routes[b"/v1/batches/"] = answer(302, location=f"{other.url}/to")
            assert collected(provider, Inline()) == LINE

        assert [target(request) for request in server.requests] == [f"/v1/batches/{BATCH}".encode(), b"/secret"]
        assert [header(request, b"authorization") is None for request in server.requests] == [False, True]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://93.184.216.35/r", BadRequest),
        ("https://169.254.169.254/latest/meta-data", BadRequest),
        ("https://10.0.0.1/r", BadRequest),
        ("file:///etc/passwd", BadRequest),
        ("https://user:word@93.184.216.35/r", BadRequest),
        ("/r", Unavailable),  # round and round
    ],
)
def test_a_redirect_that_leads_astray_or_nowhere_is_refused(location: str, expected: type[ProviderError]) -> None:
    transport = Answers((302, b"", {"location": location}))
    with a_provider("https://93.184.216.36", transport=transport) as provider, pytest.raises(ProviderError) as caught:
        collected(provider, "https://93.184.216.36/r")

    assert type(caught.value) is expected
    assert len(transport.requests) <= 6


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/resource/batch%2F1.jsonl", "/resource/batch%2F1.jsonl"),
        ("results/1.jsonl?x=1", "/v1/results/1.jsonl?x=1"),
        ("../files/1", "/files/1"),
        ("?results=1", "/v1/?results=1"),
    ],
)
def test_a_relative_result_url_is_resolved_against_the_base_url(url: str, path: str) -> None:
    status = polled(STATUS | {"result_url": f" {url} "})
    transport = Answers((200, LINE))
    with a_provider(transport=transport) as provider:
        assert status.results is not None
        assert collected(provider, status.results) == LINE

    [request] = transport.requests
    assert request.extensions["target"].decode() == path
    assert "authorization" in request.headers


def test_what_is_no_url_beside_a_failure_is_not_taken_for_one() -> None:
    """`fail_reason` has words in it, too."""
    assert polled(STATUS | {"result_url": "", "fail_reason": "see /docs"}).results is None


def test_a_status_in_place_of_results_is_followed_to_where_it_says_that_they_are() -> None:
    for steps, asked in (
        ([STATUS | {"result_url": "/r/2"}, LINE], [BATCH, "2"]),
        ([STATUS | {"result_url": "/r/2"}, STATUS | {"result_url": "/r/3"}, LINE], [BATCH, "2", "3"]),
        ([STATUS | {"result_url": ""}, LINE], [BATCH, BATCH]),  # it alternates between the two documented forms
    ):
        transport = Answers(*((200, as_body(step)) for step in steps))
        with a_provider(transport=transport) as provider:
            assert collected(provider, Inline()) == LINE

        targets = [request.extensions["target"].decode() for request in transport.requests]
        assert [target.rpartition("/")[2] for target in targets] == asked


def test_a_status_that_is_there_again_and_again_ends_the_search() -> None:
    transport = Answers((200, orjson.dumps(STATUS | {"result_url": ""})))
    with a_provider(transport=transport) as provider, pytest.raises(Gone, match="where its results should be"):
        collected(provider, Inline())

    assert len(transport.requests) == 4


def test_results_in_the_answer_itself_are_fetched_with_the_key() -> None:
    content = LINE * 20_000  # more than a head
    with serving(saying(answer(200, content))) as server, a_provider(server.url) as provider:
        assert collected(provider, Inline()) == content

        assert target(server.requests[0]) == f"/v1/batches/{BATCH}".encode()
        assert header(server.requests[0], b"authorization") == b"Bearer " + KEY.encode()


INLINE = {"batch_id": BATCH, "status": "completed", "results": [{"custom_id": "9f86d081-0-0", "response": {}}]}


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (orjson.dumps(INLINE), Outcome.COMPLETED),
        (orjson.dumps(INLINE | {"status": "expired"}), Outcome.EXPIRED),
        (orjson.dumps(INLINE["results"]), Outcome.COMPLETED),
        (orjson.dumps(INLINE | {"results": INLINE["results"] * 9_000}), Outcome.COMPLETED),
        (orjson.dumps(INLINE | {"status": "in_progress", "results": INLINE["results"] * 9_000}), None),
        (orjson.dumps(INLINE | {"status": "in_progress"}), None),
    ],
    ids=["in the status", "expired", "an array", "longer than a head", "long, and running", "running"],
)
def test_results_in_the_status_object_are_found_and_only_once_the_batch_has_ended(
    content: bytes, outcome: Outcome | None
) -> None:
    with a_provider(transport=Answers((200, content))) as provider:
        status = provider.status(BATCH)

        assert (status.outcome, isinstance(status.results, Inline)) == (outcome, outcome is not None)
        if outcome is not None:
            assert collected(provider, Inline()) == content


def test_results_come_out_byte_for_byte() -> None:
    """Broken lines, too: they were paid for, and the parser shall see them."""
    content = b'\xef\xbb\xbf{"broken\r\n\n{"custom_id":"a\xe2\x80\xa8"}\n\xff\xfe{"x":1}'
    for where in (Inline(), RESULT_URL):
        with a_provider(transport=Answers((200, content))) as provider:
            assert collected(provider, where) == content


def test_results_compressed_unasked_come_out_plain() -> None:
    body = gzip.compress(LINE * 100)
    with a_provider(transport=Answers((200, body, {"content-encoding": "gzip"}))) as provider:
        assert collected(provider, RESULT_URL) == LINE * 100


@pytest.mark.parametrize("content", [orjson.dumps(STATUS), orjson.dumps(RUNNING), b"", b"<html>"])
def test_what_is_no_results_is_not_taken_for_them(content: bytes) -> None:
    with a_provider(transport=Answers((200, content))) as provider, pytest.raises((Unavailable, Gone)):
        collected(provider, Inline())


def test_an_empty_result_file_is_one() -> None:
    """Azure's error file may have no bytes at all."""
    with a_provider(transport=Answers((200, b""))) as provider:
        assert collected(provider, RESULT_URL) == b""


@pytest.mark.parametrize(
    ("status", "content", "where", "expected"),
    [
        (403, b"", RESULT_URL, Gone),
        (404, b"", RESULT_URL, Gone),
        (410, b"", RESULT_URL, Gone),
        (404, b"", Inline(), Gone),
        (401, b"", RESULT_URL, Gone),  # of the link: the key was not shown
        (401, b"", Inline(), NotAuthorized),
        (429, b"", RESULT_URL, RateLimited),
        (302, b"", RESULT_URL, Unavailable),
        (502, b"", RESULT_URL, Unavailable),
        (200, b'{"error":{"code":404,"message":"no"}}', RESULT_URL, Gone),
        (200, b'{"error":{"code":500,"message":"no"}}', Inline(), Unavailable),
        (200, LINE, "http://93.184.216.35/r", BadRequest),
        (200, LINE, "https://169.254.169.254/r", BadRequest),
        (200, LINE, "", BadRequest),
    ],
)
def test_results_that_cannot_be_had_are_the_error_they_are(
    status: int, content: bytes, where: str, expected: type[ProviderError]
) -> None:
    with (
        a_provider("https://93.184.216.36", transport=Answers((status, content))) as provider,
        pytest.raises(ProviderError) as caught,
    ):
        collected(provider, where)

    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "provider_message",
    [
        b"Content-Length: 9999\r\n\r\n" + LINE,
        b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + LINE,
        b"\r\n" + LINE + LINE[:20],
    ],
    ids=["against its length", "within a chunk", "within a line"],
)
def test_results_that_are_cut_are_unavailable_after_what_came(provider_message: bytes) -> None:
    with serving(saying_last(b"HTTP/1.1 200 OK\r\n" + provider_message)) as server, a_provider(server.url) as provider:
        with pytest.raises(Unavailable):
            collected(provider, f"{server.url}/results")
        with pytest.raises(Unavailable):
            collected(provider, Inline())


# Cancel


def test_a_cancel_is_a_post_without_a_body() -> None:
    with serving(saying(answer(200, orjson.dumps(CREATED)))) as server, a_provider(server.url) as provider:
        provider.cancel(BATCH)

        (request,) = server.requests
        assert request.startswith(f"POST /v1/batches/{BATCH}/cancel HTTP/1.1\r\n".encode())
        assert header(request, b"content-length") == b"0"


@pytest.mark.parametrize(
    ("status", "message"),
    [(409, "conflict"), (400, "the batch has already ended as SUCCESS"), (400, "cannot be cancelled"), (200, "")],
)
def test_stopping_what_has_ended_is_no_error(status: int, message: str) -> None:
    content = orjson.dumps({"error": {"code": status, "message": message}} if message else CREATED)
    with a_provider(transport=Answers((status, content))) as provider:
        provider.cancel(BATCH)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, Gone), (401, NotAuthorized), (400, BadRequest), (429, RateLimited), (500, Unavailable)],
)
def test_a_cancel_that_failed_is_an_error(status: int, expected: type[ProviderError]) -> None:
    for http_status in (status, 200):
        content = orjson.dumps({"error": {"code": status, "message": "no such thing"}})
        with a_provider(transport=Answers((http_status, content))) as provider, pytest.raises(expected):
            provider.cancel(BATCH)


# End to end


@pytest.mark.parametrize("mode", ["status-object", "jsonl-stream", "mixed"])
def test_a_batch_goes_all_the_way_through_a_real_server(tmp_path: Path, mode: str) -> None:
    params = {"model": "m-batch", "max_tokens": 8, "messages": [{"role": "user", "content": "Say \u2028 it."}]}
    lines = [orjson.dumps({"custom_id": f"j-0-{row:x}", "params": params}) for row in range(50)]
    with running_gateway(tmp_path / "state", "--duration-s", "0", "--result-mode", mode) as gateway:
        http = HttpClient(gateway.url, Secret(API_KEY), timeouts=TIMEOUTS)
        provider = onerouter(http)
        batch_id = provider.create(a_submission(*lines))
        status = provider.status(batch_id)
        (content,) = [b"".join(file.blocks) for file in provider.results(batch_id, status.results)]
        provider.cancel(batch_id)
        with pytest.raises(Gone):
            provider.status(BatchId("batch_nobody"))
        http.close()

    assert status.outcome is Outcome.COMPLETED
    assert {orjson.loads(line)["custom_id"] for line in content.split(b"\n") if line} == {
        f"j-0-{row:x}" for row in range(50)
    }
