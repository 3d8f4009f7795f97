"""OpenAI's dialect: against its documents, and against what is known to happen beside them."""

from __future__ import annotations

import email
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from orchestrator.domain.batch import BatchStatus, Submission
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    Misplaced,
    NotAuthorized,
    OrchestratorError,
    ProviderError,
    RateLimited,
    StorageError,
    TooLarge,
    Unavailable,
    UploadUnusable,
)
from orchestrator.domain.faults import Fault
from orchestrator.domain.model import BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Files, ResultRef, ResultsAt
from orchestrator.ports import Provider
from orchestrator.providers.openai.provider import OpenAI
from tests.adapters.openai_wire import BATCH, COMPLETED, CREATED, FILE, KEY, TIMEOUTS, TOKEN, a_submission, an_openai
from tests.adapters.wire import (
    Answers,
    Connection,
    answer,
    create_at,
    header,
    poll_at,
    saying,
    saying_last,
    serving,
    target,
)
from tests.fakes.dialects import a_dialect

COUNTS: Final = {"output": 95, "error": 5}  # as COMPLETED has them


def in_files(**files: str) -> Files:
    refs = (ResultRef(name=name, at=file_id, line_count=COUNTS.get(name)) for name, file_id in files.items())
    return Files(refs=tuple(refs))


BOTH: Final = in_files(output="file-output", error="file-error")
ERROR_LINE: Final = (
    b'{"id":"batch_req_1","custom_id":"j-0-1","response":null,'
    b'"error":{"code":"batch_expired","message":"This request could not be executed before the window expired."}}\n'
)
LINE: Final = b'{"id":"batch_req_1","custom_id":"j-0-1","response":{"status_code":200,"body":{}},"error":null}\n'


def error(message: str, **fields: object) -> bytes:
    """Return OpenAI's error envelope."""
    return orjson.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | fields}
    )


def uploaded(status: int, content: object, submission: Submission | None = None) -> FileId:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    with an_openai(transport=Answers((status, body))) as provider:
        return provider.upload(submission or a_submission())


def created(status: int, content: object, **headers: str) -> BatchId | OrchestratorError:
    """Create against one answer, and return what came of it."""
    return create_at(an_openai, a_submission(), status, content, headers)


def polled(content: object, status: int = 200) -> BatchStatus:
    return poll_at(an_openai, BATCH, status, content)


def collected(provider: OpenAI, where: ResultsAt = BOTH) -> dict[str, bytes]:
    return {file.name: b"".join(file.blocks) for file in provider.results(BATCH, where)}


def test_it_is_a_provider_that_can_be_asked_and_fenced() -> None:
    with an_openai(transport=Answers((200, b""))) as provider:
        port: Provider = provider
        traits = port.traits

        assert (traits.name, traits.recovery) == ("openai", Recovery.FENCED)
        assert port.files is provider
        assert port.batch_list is provider
        assert traits.settle_s > TIMEOUTS.create_s
        assert traits.lag_s > 0


@pytest.mark.parametrize(
    ("status", "content", "state"),
    [
        (200, {"status": "processed"}, "ready"),
        (200, {"status": "uploaded"}, "stored"),
        (200, {"status": "Pending"}, "pending"),
        (200, {"status": "notRunning"}, "pending"),
        (200, {"data": {"id": "file-1", "status": "processing"}}, "pending"),
        (200, {"status": "error", "status_details": "line 3"}, "broken"),
        (200, {"status": "deleted"}, "missing"),
        (200, {"status": None}, "unknown"),
        (200, ["file-1"], "unknown"),
        (200, b"<html>", "unknown"),
        (404, {"error": {"message": "No such File object: file-1"}}, "missing"),
        (410, b"", "missing"),
        (403, b"", "unknown"),
        (500, b"", "unknown"),
    ],
)
def test_a_file_is_as_its_object_says(status: int, content: object, state: str) -> None:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    with an_openai(transport=Answers((status, body))) as provider:
        assert provider.state(FileId("file-1")) == state


@pytest.mark.parametrize(
    ("named", "refs"),
    [
        ({"output_file_id": ["file-1"]}, [("output", "file-1", 95)]),
        ({"output_file_ids": ["file-1", "file-2"]}, [("output", "file-1", None), ("output2", "file-2", None)]),
        ({"output_file_id": "file-1", "output_file_ids": ["file-1"]}, [("output", "file-1", 95)]),
        ({"output_file_ids": [], "error_file_ids": ["file-3"]}, [("error", "file-3", 5)]),
    ],
)
def test_result_files_may_be_named_in_lists(named: dict[str, object], refs: list[tuple[str, str, int | None]]) -> None:
    """Of several files it is not known how many lines each has."""
    status = polled(COMPLETED | {"output_file_id": None, "error_file_id": None} | named)

    assert isinstance(status.results, Files)
    assert [(ref.name, ref.at, ref.line_count) for ref in status.results.refs] == refs


@pytest.mark.parametrize("ids", [[None], [{"id": "file-1"}], ["../batches"], ["file-1", ""]])
def test_a_list_of_files_with_something_else_in_it_is_not_read_in_part(ids: list[object]) -> None:
    with pytest.raises(Unavailable, match="unusable id"):
        polled(COMPLETED | {"output_file_id": ids})


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [(f"orchestrator-{TOKEN}.jsonl", True), ("batch.jsonl", True), (None, True), ("orchestrator-0123.jsonl", False)],
)
def test_a_file_that_bears_another_uploads_name_is_not_used(name: str | None, *, is_ours: bool) -> None:
    """A cache on the way repeated an earlier answer. Some servers name files as they like."""
    submission = a_submission()
    content = {"id": "file-1", "bytes": submission.size_bytes, "filename": name}

    if is_ours:
        assert uploaded(200, content) == "file-1"
    else:
        with pytest.raises(UploadUnusable, match="the file of another upload"):
            uploaded(200, content)


@pytest.mark.parametrize(
    ("metadata", "is_ours"),
    [
        ({"orchestrator_attempt": TOKEN}, True),
        (None, True),  # some drop it
        ({"theirs": "x"}, True),
        ({"orchestrator_attempt": "0123"}, False),
    ],
)
def test_a_batch_that_bears_another_creates_mark_is_not_this_creates(metadata: object, *, is_ours: bool) -> None:
    """What is kept of the answer is no batch: no later version may take it for this create's."""
    found = created(200, {"id": "batch_1", "object": "batch", "status": "validating", "metadata": metadata})

    assert isinstance(found, CreateAmbiguous) is not is_ours
    if isinstance(found, CreateAmbiguous):
        assert "batch batch_1, which has the mark of another create" in str(found)
        assert b"{" not in (found.answer or b"{")
    else:
        assert found == "batch_1"


def test_an_upload_that_could_not_be_processed_is_no_input_file() -> None:
    with pytest.raises(UploadUnusable, match="could not process the uploaded file"):
        uploaded(200, {"id": "file-1", "bytes": a_submission().size_bytes, "status": "error"})


@pytest.mark.parametrize(
    ("status", "body", "is_refused"),
    [
        (409, error("The file is pending"), True),
        (409, error("File file-1 is not ready", code="file_not_ready"), True),
        (409, error("The file is pending", code=409), True),
        (200, error("The file is pending", code=409), True),
        (425, error("File is not ready"), True),
        (409, error("A batch for this file exists"), False),
        (409, error("The file is pending", code=500), False),
        (503, error("The file is pending"), False),
    ],
)
def test_a_conflict_is_a_refusal_only_where_it_is_about_the_file(status: int, body: bytes, *, is_refused: bool) -> None:
    found = created(status, body)

    assert isinstance(found, CreateRefused if is_refused else CreateAmbiguous)
    assert not isinstance(found, CreateRefused) or found.error.fault is Fault.PLATFORM


def test_a_refusal_says_whether_there_is_no_file_or_it_is_not_ready() -> None:
    found = []
    for message in ("No such File object: file-1", "Cannot find file file-1.", "The file is pending"):
        refused = created(400, error(message))
        assert isinstance(refused, CreateRefused)
        found.append(refused.error.names_no_file)

    assert found == [True, True, False]


def test_a_request_line_is_what_the_documents_print() -> None:
    envelope = a_dialect("openai").envelope

    line = envelope.before_id + b"request-1" + envelope.before_body + b'{"model":"m"}' + envelope.after_body

    assert orjson.loads(line) == {
        "custom_id": "request-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m"},
    }


# Upload


def test_an_upload_is_a_form_with_a_purpose_and_a_file_that_bears_the_token() -> None:
    lines = [b'{"custom_id":"a"}', '{"custom_id":"\u2028ü"}'.encode()]
    submission = a_submission(*lines)
    provider_message = orjson.dumps(
        {"id": FILE, "object": "file", "bytes": submission.size_bytes, "status": "processed"}
    )
    with serving(saying(answer(200, provider_message))) as server, an_openai(server.url) as provider:
        assert provider.upload(submission) == FILE

        (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/files HTTP/1.1\r\n")
        assert header(request, b"authorization") == b"Bearer " + KEY.encode()
        assert header(request, b"content-length") == str(len(body)).encode()
        form = email.message_from_bytes(
            b"Content-Type: " + (header(request, b"content-type") or b"") + b"\r\n\r\n" + body
        )
        parts: Any = form.get_payload()
        purpose, file = parts
        assert purpose.get_param("name", header="content-disposition") == "purpose"
        assert purpose.get_payload() == "batch"
        assert file.get_param("name", header="content-disposition") == "file"
        assert file.get_filename() == f"orchestrator-{TOKEN}.jsonl"
        assert b"".join(line + b"\n" for line in lines) + b"\r\n--" in body


def test_an_upload_is_read_as_it_is_sent() -> None:
    """Where the provider takes nothing in, next to nothing was read by the end, however large the file is."""
    block_count, read = 4096, []

    def blocks() -> Iterator[bytes]:
        for _ in range(block_count):
            read.append(1)
            yield b" " * 65_535 + b"\n"

    def idle(connection: Connection) -> None:
        connection.stopped.wait(20.0)

    huge = replace(a_submission(), size_bytes=block_count << 16, blocks=blocks)
    hurried = replace(TIMEOUTS, upload_s=0.5)
    with serving(idle, reads_body=False) as server, an_openai(server.url, timeouts=hurried) as provider:
        with pytest.raises(Unavailable, match="deadline"):
            provider.upload(huge)

        assert len(read) < block_count / 4


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (400, error("Invalid file format for Batch API. Must be .jsonl"), BadRequest),
        (400, error("The batch file is too large"), TooLarge),
        (413, b"<html>", TooLarge),
        (401, error("Incorrect API key provided"), NotAuthorized),
        (429, error("Rate limit reached"), RateLimited),
        (429, error("You exceeded your current quota", code="insufficient_quota"), NotAuthorized),
        (500, error("The server had an error"), Unavailable),
        (408, b"", Unavailable),
        (200, b"<html>", Misplaced),
        (200, {"id": "../batches", "bytes": 28}, UploadUnusable),
        (200, {"id": FILE, "bytes": 27}, UploadUnusable),
        (200, {"id": FILE, "bytes": "1"}, UploadUnusable),
        (200, error("in a 200", code="server_error"), Unavailable),
    ],
)
def test_an_upload_that_fails_says_why(status: int, content: object, expected: type[ProviderError]) -> None:
    """Also one of which the provider kept another number of bytes: a file cut short would be a batch cut short."""
    with pytest.raises(ProviderError) as caught:
        uploaded(status, content)

    assert type(caught.value) is expected


@pytest.mark.parametrize("told", [{}, {"bytes": 0}, {"bytes": None}, {"bytes": "0"}, {"bytes": "all"}, {"bytes": 28}])
def test_a_size_that_is_not_told_is_no_other_size(told: dict[str, object]) -> None:
    """A gateway in front of another store says 0 of every file (BerriAI/litellm#36388)."""
    assert a_submission().size_bytes == 28
    assert uploaded(200, {"id": FILE} | told) == FILE


def test_requests_that_cannot_be_read_are_no_upload() -> None:
    def unreadable() -> Iterator[bytes]:
        raise StorageError("requests/c0.jsonl.zst is gone")
        yield b""

    with pytest.raises(Unavailable, match=r"c0\.jsonl\.zst is gone"):
        uploaded(200, {"id": FILE}, replace(a_submission(), blocks=unreadable))


# Create


def test_a_create_is_one_post_that_bears_both_marks() -> None:
    with serving(saying(answer(200, orjson.dumps(CREATED)))) as server, an_openai(server.url) as provider:
        assert provider.create(a_submission()) == BATCH

        (request,) = server.requests
        assert request.startswith(b"POST /v1/batches HTTP/1.1\r\n")
        assert orjson.loads(request.partition(b"\r\n\r\n")[2]) == {
            "input_file_id": FILE,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"orchestrator_attempt": TOKEN, "orchestrator_chunk": "job-1/c00000-00000"},
        }


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, {"id": ""}),
        (200, {"id": 7}),
        (200, {"id": "../files"}),
        (200, error("no")),
        (503, error("no provider meets your routing requirements")),
        (500, CREATED),
        (500, error(f"No such File object: {FILE}", code="invalid_input_file")),
    ],
)
def test_an_answer_that_is_no_certain_refusal_is_ambiguous(status: int, content: object) -> None:
    """Also a 503 that names routing: what another dialect documents proves nothing here."""
    assert type(created(status, content)) is CreateAmbiguous


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (401, error("bad key"), NotAuthorized),
        (400, error("Invalid value: 'x'"), BadRequest),
        (400, error("Enqueued token limit reached", code="token_limit_exceeded"), RateLimited),
        (429, error("slow down"), RateLimited),
        (429, error("billing", code="insufficient_quota"), NotAuthorized),
        (400, error(f"No such File object: {FILE}", code="invalid_input_file"), Unavailable),
        (404, error(f"The file {FILE} was not found"), Unavailable),
        (400, error(f"File {FILE} is not yet processed"), Unavailable),
        (400, error("The model 'x' does not exist"), BadRequest),
    ],
)
def test_a_refusal_says_why(status: int, content: bytes, expected: type[ProviderError]) -> None:
    """An input file that is gone or not ready is cured by another upload; it is no fault of the chunk's."""
    failure = created(status, content)

    assert isinstance(failure, CreateRefused)
    assert type(failure.error) is expected


def test_a_label_is_cut_to_what_the_metadata_hold() -> None:
    """A create is not refused for the length of a job's name."""
    transport = Answers((200, orjson.dumps(CREATED)))
    with an_openai(transport=transport) as provider:
        provider.create(replace(a_submission(), label="x" * 1_000))

    (request,) = transport.requests
    assert orjson.loads(request.content)["metadata"] == {
        "orchestrator_attempt": TOKEN,
        "orchestrator_chunk": "x" * 512,
    }


def test_a_batch_object_that_bears_an_error_is_still_the_batch() -> None:
    """Kin of this API put one into the object itself: how the batch stands is what was asked for."""
    told = {"error": {"message": "two requests failed", "code": 500}}

    assert polled(COMPLETED | told).outcome is Outcome.COMPLETED
    with an_openai(transport=Answers((200, orjson.dumps(CREATED | told | {"status": "cancelling"})))) as provider:
        provider.cancel(BATCH)


# Status


def test_the_documented_batch_object_is_read() -> None:
    """It says nothing of money: that is usage times price."""
    assert polled(COMPLETED) == BatchStatus(
        word="completed", outcome=Outcome.COMPLETED, results=BOTH, done_count=95, failed_count=5, fees_usd=None
    )


WORDS: Final[dict[str, Outcome | None]] = {
    "validating": None,
    "in_progress": None,
    "finalizing": None,
    "cancelling": None,
    "in_queue": None,
    "": None,
    "completed": Outcome.COMPLETED,
    "Completed": Outcome.COMPLETED,
    "failed": Outcome.FAILED,
    "expired": Outcome.EXPIRED,
    "cancelled": Outcome.CANCELLED,
    "canceled": Outcome.CANCELLED,
    "SUCCEEDED": Outcome.COMPLETED,
    "ended": Outcome.COMPLETED,
    "done": Outcome.COMPLETED,
    "PartiallyCompleted": Outcome.COMPLETED,  # Bedrock
}


@pytest.mark.parametrize(("word", "outcome"), WORDS.items())
def test_only_a_word_known_as_an_end_ends_a_batch(word: str, outcome: Outcome | None) -> None:
    """And in whatever way it ended, both of its files are there to be read; while it runs, none is."""
    status = polled(COMPLETED | {"status": word})

    assert status.outcome is outcome
    assert status.results == (BOTH if outcome is not None else None)


@pytest.mark.parametrize(
    ("output", "errors", "expected"),
    [
        ("file-o", None, in_files(output="file-o")),
        (None, "file-e", in_files(error="file-e")),
        ("", "file-e", in_files(error="file-e")),
        (None, None, None),
        ("", "", None),
    ],
)
def test_a_file_that_is_not_there_is_not_asked_for(
    output: str | None, errors: str | None, expected: Files | None
) -> None:
    """`completed` with a null output file means that no request succeeded."""
    assert polled(COMPLETED | {"output_file_id": output, "error_file_id": errors}).results == expected


def test_a_batch_that_failed_says_why() -> None:
    found = [{"code": "invalid_json_line", "line": 3, "message": "not parseable", "param": None}]
    status = polled(CREATED | {"status": "failed", "errors": {"object": "list", "data": found * 9}})

    assert status.error == "; ".join(["line 3: invalid_json_line"] * 3)
    assert status.provider_message == "; ".join(["line 3: invalid_json_line: not parseable"] * 3)
    assert "not parseable" not in repr(status)


LINE_3 = {"code": "missing_required_parameter", "line": 3, "message": "Missing required parameter.", "param": "body"}
NO_FILE = {"code": None, "line": None, "message": "Cannot find file file-1, or project p does not have access to it."}


@pytest.mark.parametrize(
    ("errors", "fault", "code", "places"),
    [
        ([LINE_3], "row", "missing_required_parameter", (2,)),
        ([LINE_3, LINE_3 | {"line": 1}], "row", "missing_required_parameter", (2, 0)),
        ([{"code": "a_new_word", "line": 7, "message": ""}], "row", "a_new_word", (6,)),
        ([{"code": "a_new_word", "line": None, "message": ""}], "platform", "a_new_word", ()),
        ([{"code": "invalid_json_line", "line": None, "message": "on line 5"}], "row", "invalid_json_line", (4,)),
        ([{"code": "model_not_found", "line": 1, "message": "no"}], "job", "model_not_found", (0,)),
        ([LINE_3, {"code": "mismatched_model", "line": 1, "message": "no"}], "job", "mismatched_model", (0,)),
        ([LINE_3, {"code": "billing_hard_limit_reached", "line": None}], "account", "billing_hard_limit_reached", ()),
        ([NO_FILE], "platform", "", ()),
        ([LINE_3, NO_FILE], "platform", "", ()),
        ([], "platform", "", ()),
        ([{"code": "too_many_tasks", "line": None, "message": ""}], "size", "too_many_tasks", ()),
    ],
)
def test_a_batch_that_failed_in_validation_was_rejected_and_whose_fault_it_is(
    errors: list[dict[str, Any]], fault: str, code: str, places: tuple[int, ...]
) -> None:
    """`line` counts from 1, a place from 0. Of several errors the gravest decides: no row pays for the account."""
    status = polled(CREATED | {"status": "failed", "errors": {"object": "list", "data": errors}})

    assert (status.rejected, status.error_code, status.places) == (fault, code, places)


def test_a_batch_that_was_in_progress_before_it_failed_was_not_only_rejected() -> None:
    """Requests of it may have run, and been charged."""
    errors = {"object": "list", "data": [LINE_3]}

    assert polled(CREATED | {"status": "failed", "errors": errors, "in_progress_at": 1_764_500_000}).rejected is None


@pytest.mark.parametrize(
    ("message", "tokens_max"),
    [
        (
            "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 2,000,000 enqueued tokens.",
            2 * 10**6,
        ),
        ("The number of enqueued tokens has surpassed the configured limit of 30K for the deployment 'm'.", 30_000),
        ("The number of enqueued tokens is over the limit of 1.5M.", 1_500_000),
        ("Enqueued token limit reached.", None),
    ],
)
def test_a_full_queue_says_its_limit(message: str, tokens_max: int | None) -> None:
    errors = {"data": [{"code": "token_limit_exceeded", "message": message, "line": None}]}
    status = polled(CREATED | {"status": "failed", "errors": errors})

    assert (status.rejected, status.tokens_max) == ("queue", tokens_max)


@pytest.mark.parametrize(
    ("fields", "rejected"),
    [
        ({}, True),
        ({"request_counts": None}, True),
        ({"request_counts": {"total": 9, "completed": 1, "failed": 0}}, False),
        ({"status": "in_progress"}, False),
        ({"status": "expired"}, False),
    ],
)
def test_a_full_queue_is_a_rejection_where_nothing_ran(fields: dict[str, Any], rejected: bool) -> None:
    """Such a batch may be sent again as it is; one of which anything ran is collected."""
    errors = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}]}
    status = polled(CREATED | {"status": "failed", "errors": errors, **fields})

    assert (status.rejected == "queue") is rejected


@pytest.mark.parametrize(
    "errors", [None, [], {}, {"data": None}, {"data": [None, 7, {}, {"message": None}]}, "words", 7, {"data": "x"}]
)
@pytest.mark.parametrize("counts", [None, [], {}, {"completed": None}, {"completed": -3, "failed": "x"}, 7])
def test_a_field_of_another_type_costs_that_field_alone(errors: object, counts: object) -> None:
    status = polled(COMPLETED | {"errors": errors, "request_counts": counts})

    assert status.outcome is Outcome.COMPLETED
    assert status.results is not None
    assert (status.done_count, status.failed_count) == (0, 0)


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (404, error("No batch found with id"), Gone),
        (410, b"", Gone),
        (401, error("bad key"), NotAuthorized),
        (429, error("slow down"), RateLimited),
        (500, b"<html>", Unavailable),
        (200, b"<html>", Unavailable),
        (200, b"", Unavailable),
        (200, b"[]", Unavailable),
        (200, {"status": "completed"}, Unavailable),
        (200, error("it broke", code="server_error"), Unavailable),
        (200, COMPLETED | {"output_file_id": "../batches"}, Unavailable),
    ],
)
def test_a_poll_that_fails_says_why(status: int, content: object, expected: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        polled(content, status)

    assert type(caught.value) is expected


# Results


def test_both_files_are_read_with_the_key_and_byte_for_byte() -> None:
    answers = [answer(200, b"\xef\xbb\xbf" + LINE + b"\xff\n"), answer(200, ERROR_LINE)]
    with serving(saying(*answers)) as server, an_openai(server.url) as provider:
        found = collected(provider)

        assert found == {"output": b"\xef\xbb\xbf" + LINE + b"\xff\n", "error": ERROR_LINE}
        assert [target(request) for request in server.requests] == [
            b"/v1/files/file-output/content",
            b"/v1/files/file-error/content",
        ]
        assert header(server.requests[0], b"authorization") == b"Bearer " + KEY.encode()


@pytest.mark.parametrize("body", [b"", ERROR_LINE, b"\xff\xfe", b"not json\n"])
def test_what_may_be_results_goes_on_to_be_parsed(body: bytes) -> None:
    """Azure's error file of a good batch has no bytes; a file of one failed row looks like an error, and is none."""
    with an_openai(transport=Answers((200, body))) as provider:
        assert collected(provider, in_files(error="file-e")) == {"error": body}


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (404, error("No such File object"), Gone),
        (410, b"", Gone),
        (401, error("bad key"), NotAuthorized),
        (502, b"<html>", Unavailable),
        (200, b"<html><title>Sign in</title>", Unavailable),
        (200, error("it broke", code="server_error"), Unavailable),
    ],
)
def test_what_is_plainly_no_results_is_refused(status: int, content: bytes, expected: type[ProviderError]) -> None:
    with an_openai(transport=Answers((status, content))) as provider, pytest.raises(ProviderError) as caught:
        collected(provider)

    assert type(caught.value) is expected


@pytest.mark.parametrize("lost", [0, 1])
def test_a_file_that_is_gone_hides_no_other(lost: int) -> None:
    """What can be had is given out first, and archived; then it is said that there was more."""
    answers: list[tuple[int, bytes]] = [(200, LINE), (200, ERROR_LINE)]
    answers[lost] = (404, error("No such File object"))
    found = {}

    def read_all(provider: OpenAI) -> None:
        for file in provider.results(BATCH, BOTH):
            found[file.name] = b"".join(file.blocks)

    with an_openai(transport=Answers(*answers)) as provider, pytest.raises(Gone):
        read_all(provider)

    assert found == ({"error": ERROR_LINE} if lost == 0 else {"output": LINE})


def test_a_download_that_is_cut_is_unavailable() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + LINE
    with serving(saying_last(cut)) as server, an_openai(server.url) as provider, pytest.raises(Unavailable):
        collected(provider)


def test_a_file_that_is_cut_before_its_first_byte_is_no_empty_file() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with serving(saying_last(cut)) as server, an_openai(server.url) as provider, pytest.raises(Unavailable):
        collected(provider)


def test_a_refusal_of_a_file_is_known_by_its_status_however_its_words_are_cut() -> None:
    cut = b'HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n{"error":'
    with serving(saying_last(cut)) as server, an_openai(server.url) as provider, pytest.raises(Gone):
        collected(provider, in_files(output="file-output"))


# Cancel and fence


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, orjson.dumps(CREATED | {"status": "cancelling"})),
        (409, error("Cannot cancel a batch with status 'completed'.")),
        (400, error("Cannot cancel a batch with status 'expired'.")),
        (400, error("the batch is already being cancelled")),
    ],
)
def test_cancelling_what_has_ended_is_no_error(status: int, content: bytes) -> None:
    with serving(saying(answer(status, content))) as server, an_openai(server.url) as provider:
        provider.cancel(BATCH)

        assert server.requests[0].startswith(b"POST /v1/batches/batch_abc123/cancel HTTP/1.1\r\n")


@pytest.mark.parametrize(("status", "expected"), [(404, Gone), (400, BadRequest), (500, Unavailable)])
def test_a_cancel_that_fails_says_why(status: int, expected: type[ProviderError]) -> None:
    with an_openai(transport=Answers((status, error("no")))) as provider, pytest.raises(expected):
        provider.cancel(BATCH)


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, b'{"id":"file-abc123","deleted":true}'), (404, error("No such File object")), (410, b"")],
)
def test_the_fence_is_up_once_the_file_is_gone(status: int, content: bytes) -> None:
    """Twice is no error."""
    with serving(saying(answer(status, content))) as server, an_openai(server.url) as provider:
        provider.delete(FILE)

        assert server.requests[0].startswith(b"DELETE /v1/files/file-abc123 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b'{"id":"file-abc123","deleted":false}'),
        (200, b""),
        (204, b""),
        (200, error("it broke")),
        (200, error("not found", code=404)),
        (409, error("in use")),
        (401, error("bad key")),
        (500, b""),
    ],
)
def test_the_fence_is_not_up_before_the_provider_says_so(status: int, content: bytes) -> None:
    """A new create may follow it: what is not a plain word is none."""
    with an_openai(transport=Answers((status, content))) as provider, pytest.raises(ProviderError):
        provider.delete(FILE)


@pytest.mark.parametrize(
    "name", ["../files", "..", "a/../b", "%2e%2e/x", " b", "b\n", "b\x7f", "\u202eb", "/", "b" * 1_025]
)
def test_an_id_that_would_be_another_path_is_not_used(name: str) -> None:
    transport = Answers((200, b"{}"))
    with an_openai(transport=transport) as provider:
        for act in (
            lambda: provider.status(BatchId(name)),
            lambda: provider.cancel(BatchId(name)),
            lambda: provider.delete(FileId(name)),
            lambda: collected(provider, in_files(output=name)),
        ):
            with pytest.raises(BadRequest, match="unusable id"):
                act()

    assert transport.requests == []
