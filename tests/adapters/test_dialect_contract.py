"""What every dialect must keep, ours and other people's: one suite, for each dialect and each of its endpoints.

A new dialect adds one `Sample`: what its provider answers, byte for byte.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson
import pytest

from orchestrator.domain import custom_id, results_at
from orchestrator.domain.batch import Submission
from orchestrator.domain.errors import ConfigError, CreateAmbiguous, CreateRefused
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.planner.template import placeholders
from orchestrator.ports import Provider
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.result_lines import UnreadableLine
from tests.adapters.wire import Answers
from tests.fakes.dialects import a_dialect

DIGEST: Final = "0123abcd" + "0" * 56
NAME: Final = custom_id.custom_id(DIGEST, 0, 31)
KEY: Final = "sk-canary-0f1e2d3c4b5a6978"
BATCH: Final = BatchId("batch_1")
TOKEN: Final = AttemptToken("0123456789abcdef" * 2)
CHAT: Final = {"choices": [{"message": {"content": "good"}, "finish_reason": "stop"}]}
RESPONSE: Final = {
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "good"}]}],
}
VECTOR: Final = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A dialect, and what its provider answers."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str = "gpt-4o-mini"
    created: Mapping[str, Any]
    ended: Mapping[str, Any]  # the status of a batch with results
    body: Mapping[str, Any]  # of a good answer
    other_body: Mapping[str, Any]  # of a good answer of another endpoint
    request: Mapping[str, Any] = field(default_factory=lambda: {"prompt": "{text} of {place}"})

    def dialect(self) -> Dialect:
        return a_dialect(self.name, **self.options)

    def line(self, body: Mapping[str, Any] | None, *, status: int = 200, error: Any = None) -> bytes:
        response = None if body is None else {"status_code": status, "request_id": "r-1", "body": body}
        return orjson.dumps({"custom_id": NAME, "response": response, "error": error})


class AnthropicSample(Sample):
    """A provider whose result lines are `{"custom_id", "result": {"type", …}}`."""

    def line(self, body: Mapping[str, Any] | None, *, status: int = 200, error: Any = None) -> bytes:
        result: dict[str, Any] = {"type": "succeeded", "message": body}
        if error is not None or status >= 400:
            failed = error or (body or {})["error"]
            inner = {"type": failed["code"], "message": failed["message"]}
            result = {"type": "errored", "error": {"type": "error", "error": inner, "request_id": "r-1"}}
        return orjson.dumps({"custom_id": NAME, "result": result})


OPENAI: Final[dict[str, Any]] = {
    "name": "openai",
    "created": {"id": BATCH, "object": "batch", "status": "validating"},
    "ended": {
        "id": BATCH,
        "object": "batch",
        "status": "completed",
        "output_file_id": "file-o",
        "error_file_id": "file-e",
        "request_counts": {"total": 2, "completed": 1, "failed": 1},
    },
}
SAMPLES: Final = [
    Sample(
        name="onerouter",
        model="gpt-4o-mini-batch",
        created={"batch_id": BATCH, "batch": {"id": BATCH, "status": "validating"}},
        ended={"batch_id": BATCH, "status": "SUCCESS", "result_url": "https://files.example/r", "completed_count": 2},
        body=CHAT,
        other_body=VECTOR,
    ),
    Sample(**OPENAI, body=CHAT, other_body=RESPONSE),
    Sample(**OPENAI, options={"endpoint": "/v1/responses"}, body=RESPONSE, other_body=CHAT),
    Sample(
        **OPENAI,
        options={"endpoint": "/v1/embeddings"},
        model="text-embedding-3-small",
        body=VECTOR,
        other_body=CHAT,
    ),
    AnthropicSample(
        name="anthropic",
        model="claude-haiku-5-5",
        request={"prompt": "{text} of {place}", "max_tokens": 100},
        created={"id": BATCH, "type": "message_batch", "processing_status": "in_progress"},
        ended={
            "id": BATCH,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0},
            "results_url": f"/v1/messages/batches/{BATCH}/results",
        },
        body={"type": "message", "content": [{"type": "text", "text": "good"}], "stop_reason": "end_turn"},
        other_body=CHAT,
    ),
]


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.name + sample.options.get("endpoint", ""))
def sample(request: pytest.FixtureRequest) -> Sample:
    found: Sample = request.param
    return found


def provider_of(sample: Sample, *answers: Any) -> Provider:
    http = HttpClient("https://93.184.216.34/v1", Secret(KEY), timeouts=Timeouts(), transport=Answers(*answers))
    return sample.dialect().connect(http)


def a_submission() -> Submission:
    content = b'{"custom_id":"a","params":{}}\n'
    return Submission(
        token=TOKEN,
        request_count=1,
        size_bytes=len(content),
        blocks=lambda: iter([content]),
        file_id=FileId("file-1"),
        label="job-1/c00000-00000",
    )


# Requests


def test_a_line_is_json_with_its_id_and_its_body(sample: Sample) -> None:
    envelope = sample.dialect().envelope
    line = envelope.before_id + NAME.encode() + envelope.before_body + b'{"model":"m"}' + envelope.after_body

    content = orjson.loads(line)
    assert content["custom_id"] == NAME
    assert {"model": "m"} in content.values()


def test_a_request_keeps_its_model_and_its_placeholders(sample: Sample) -> None:
    request = {"model": sample.model, **sample.request}
    before = copy.deepcopy(request)

    body = sample.dialect().request_body(request)

    assert request == before, "the request itself was changed"
    assert body["model"] == sample.model
    assert placeholders(body) == ("text", "place")


def test_a_body_that_it_made_stays_as_it_is(sample: Sample) -> None:
    dialect = sample.dialect()
    body = dialect.request_body({"model": sample.model, **sample.request})

    assert dialect.request_body(body) == body


def test_a_request_without_a_prompt_is_refused(sample: Sample) -> None:
    with pytest.raises(ConfigError, match=f"cannot be sent to {sample.model}"):
        sample.dialect().request_body({"model": sample.model})


def test_an_option_that_it_does_not_have_is_refused_by_name(sample: Sample) -> None:
    with pytest.raises(ConfigError, match="unknown key 'endpiont'"):
        a_dialect(sample.name, **sample.options, endpiont="x")


# Result lines


def test_a_good_line_is_an_answer(sample: Sample) -> None:
    name, answer = sample.dialect().read_line(sample.line(sample.body), keep_raw=True)

    assert (name, answer.succeeded, answer.retryable) == (NAME, True, False)
    assert answer.raw is not None
    assert (answer.embedding is not None) == sample.dialect().gives_vectors
    assert (answer.text == "good") != sample.dialect().gives_vectors


def test_a_failed_line_is_a_failure_with_its_code(sample: Sample) -> None:
    failed = sample.line({"error": {"code": "invalid_value", "message": "no"}}, status=400)
    never_run = sample.line(None, error={"code": "batch_expired", "message": "too late"})

    for line, code in ((failed, "invalid_value"), (never_run, "batch_expired")):
        name, answer = sample.dialect().read_line(line, keep_raw=False)
        assert (name, answer.succeeded, answer.error_code) == (NAME, False, code)


def test_a_text_is_read_in_any_known_shape_and_never_taken_for_a_vector(sample: Sample) -> None:
    """Gateways answer in their upstream's shape; what is no text, or no vector, is kept and not sent again."""
    _, answer = sample.dialect().read_line(sample.line(sample.other_body), keep_raw=False)

    if answer.succeeded:
        assert (answer.text, answer.embedding) == ("good", None)
        assert not sample.dialect().gives_vectors
    else:
        assert (answer.error_code, answer.retryable) == ("unreadable", False)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"null", b"\xff", b'{"custom_id":7}', b'{"id":"a"}', b"[" * 100_000]
)
def test_a_line_that_names_no_row_is_unreadable_and_no_other_error(sample: Sample, line: bytes) -> None:
    with pytest.raises(UnreadableLine):
        sample.dialect().read_line(line, keep_raw=True)


@pytest.mark.parametrize("value", [None, 7, "x", [], [None], {}, {"a": []}, True])
def test_a_field_of_a_wrong_type_is_a_failure_of_the_row_at_most(sample: Sample, value: Any) -> None:
    for body in (value, *({key: value} for key in sample.body)):
        name, answer = sample.dialect().read_line(sample.line(body), keep_raw=True)
        assert name == NAME
        assert answer.succeeded in (True, False)


# The provider


def test_what_it_can_do_is_what_its_class_of_recovery_needs(sample: Sample) -> None:
    provider = provider_of(sample)
    recovery = provider.traits.recovery

    assert provider.traits.settle_s > sample.dialect().settings.create_s_max
    assert provider.traits.key_mark, "a key must be told from another"
    if recovery is Recovery.FENCED:
        assert provider.files is not None, "a late create is stopped by deleting its input file"
    if recovery in (Recovery.FENCED, Recovery.SETTLED):
        assert provider.batch_list is not None


def test_a_create_is_one_exchange_with_three_outcomes(sample: Sample) -> None:
    """Made, refused where that is certain, ambiguous otherwise."""
    page, envelope = b"<html>", b'{"error":{"message":"no"}}'
    answers: list[tuple[Any, object]] = [
        ((200, orjson.dumps(sample.created)), BATCH),
        *(((status, envelope), CreateRefused) for status in (400, 401, 402, 403, 404, 405, 413, 422, 429)),
        *(((status, body), CreateRefused) for status in (400, 401, 404, 413, 429) for body in (b"", page)),
        (httpx.ConnectError("no"), CreateRefused),
        *(((status, envelope), CreateAmbiguous) for status in (408, 409, 500, 502, 503, 504)),
        *(((status, b""), CreateAmbiguous) for status in (200, 204, 302, 303, 408, 409, 500, 504)),
        *(((200, body), CreateAmbiguous) for body in (b"{", b"null", b"{}", page)),
        ((502, page), CreateAmbiguous),
        (httpx.ReadTimeout("no"), CreateAmbiguous),
        (httpx.RemoteProtocolError("no"), CreateAmbiguous),
    ]
    for answer, expected in answers:
        transport = Answers(answer)
        http = HttpClient("https://93.184.216.34/v1", Secret(KEY), transport=transport)
        provider = sample.dialect().connect(http)
        try:
            found: object = provider.create(a_submission())
        except (CreateRefused, CreateAmbiguous) as error:
            found, told = type(error), repr(error)
        else:
            told = ""
        assert found == expected, answer
        assert KEY not in told
        assert len(transport.requests) == 1, "a create was repeated"


def test_where_the_results_are_survives_the_ledger(sample: Sample) -> None:
    provider = provider_of(sample, (200, orjson.dumps(sample.ended)))

    status = provider.status(BATCH)

    assert status.outcome is Outcome.COMPLETED
    assert status.results is not None
    assert results_at.from_text(results_at.to_text(status.results)) == status.results


def test_its_list_gives_the_statuses_that_polls_give(sample: Sample) -> None:
    page = {"data": [sample.ended | {"id": BATCH}], "has_more": False}
    provider = provider_of(sample, (200, orjson.dumps(sample.ended)), (200, orjson.dumps(page)))
    status = provider.status(BATCH)

    if provider.batch_list is not None:
        assert list(provider.batch_list.statuses()) == [{BATCH: status}]


def test_results_come_as_they_are(sample: Sample) -> None:
    line = sample.line(sample.body) + b"\n"
    where = provider_of(sample, (200, orjson.dumps(sample.ended))).status(BATCH).results
    assert where is not None

    files = list(read(provider_of(sample, *[(200, line)] * 2), where))

    assert files
    assert all(content == line for content in files)


def read(provider: Provider, where: results_at.ResultsAt) -> Iterator[bytes]:
    for file in provider.results(BATCH, where):
        yield b"".join(file.blocks)
