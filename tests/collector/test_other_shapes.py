"""Result lines in undocumented forms: read where one reading alone is possible; else the row is kept and not resent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.collector.parse import read_answers
from orchestrator.domain.model import Outcome
from orchestrator.domain.reconcile import Answer, Reconciliation, unanswered
from tests.collector.builders import DIGEST, a_completion, a_line, name_of, read

ID = name_of(0)


def line_of(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def answer_to(line: bytes) -> Answer:
    return read([line + b"\n"])[0][0, 0]


RESPONSE = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}],
}
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "yes"}], "stop_reason": "x"}
CHAT = a_completion()
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "yes"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5},
}
COHERE = {
    "id": "c1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
}

READ = {
    "body as JSON text": line_of(custom_id=ID, response={"status_code": 200, "body": json.dumps(CHAT)}),
    "response as JSON text": line_of(custom_id=ID, response=json.dumps({"status_code": 200, "body": CHAT})),
    "response_body": line_of(custom_id=ID, response_body=CHAT, error=None),
    "response_body as JSON text": line_of(custom_id=ID, response_body=json.dumps(CHAT), status_code=200),
    "completion under response": line_of(custom_id=ID, response=CHAT),
    "completion beside the id": line_of(custom_id=ID, **CHAT),
    "body beside the id": line_of(custom_id=ID, body=RESPONSE),
    "message under result": line_of(custom_id=ID, result=MESSAGE),
    "Responses body as JSON text": line_of(custom_id=ID, response={"status_code": 200, "body": json.dumps(RESPONSE)}),
    "Gemini behind OpenAI's envelope": line_of(custom_id=ID, response={"status_code": 200, "body": GEMINI}),
    "Gemini's file form": line_of(key=ID, response=GEMINI),
    "Gemini's inline form": line_of(metadata={"key": ID}, response=GEMINI),
    "Cohere behind OpenAI's envelope": line_of(custom_id=ID, response={"status_code": 200, "body": COHERE}),
    "Cohere as JSON text": line_of(id=ID, response_body=json.dumps(COHERE)),
    "id in key": line_of(key=ID, response=CHAT),
    "id in id": line_of(id=ID, response={"status_code": 200, "body": CHAT}),
    "id in customId": line_of(customId=ID, id="batch_req_1", response={"status_code": 200, "body": CHAT}),
    "id in CustomID, with spaces": line_of(CustomID=f" {ID} ", response={"status_code": 200, "body": CHAT}),
    "id in metadata.key": line_of(metadata={"key": ID}, response=CHAT),
    "id in capitals": line_of(custom_id=ID.upper(), response={"status_code": 200, "body": CHAT}),
}


@pytest.mark.parametrize("line", READ.values(), ids=READ.keys())
def test_a_shape_with_one_possible_reading_is_read(line: bytes) -> None:
    answer = answer_to(line)

    assert (answer.succeeded, answer.text) == (True, "yes")


NOT_READ = {
    "an answer as plain text": line_of(custom_id=ID, response="yes"),
    "a body as plain text": line_of(custom_id=ID, response={"status_code": 200, "body": "yes"}),
    "a body of an unknown shape": line_of(custom_id=ID, response={"status_code": 200, "body": {"answer": "yes"}}),
    "two bodies": line_of(custom_id=ID, response=CHAT, response_body=a_completion("no")),
    "a body of two shapes": line_of(custom_id=ID, response={"body": json.dumps(CHAT | RESPONSE)}),
    "a message without an error": line_of(custom_id=ID, response={"status_code": 200, "body": {"message": "yes"}}),
    "an unknown envelope": line_of(custom_id=ID, outcome={"text": "yes"}),
}


@pytest.mark.parametrize("line", NOT_READ.values(), ids=NOT_READ.keys())
def test_where_no_reading_or_more_than_one_is_possible_nothing_is_read_and_nothing_bought_again(line: bytes) -> None:
    answers, tally, _ = read([line + b"\n"])

    assert (answers[0, 0].error_code, answers[0, 0].retryable, answers[0, 0].text) == ("unreadable", False, None)
    assert (tally.unreadable_rows, tally.waiting) == (1, 0)


FAILED = {
    "id in key": line_of(key=ID, error={"code": "server_error", "message": "busy"}),
    "status beside response_body": line_of(custom_id=ID, response_body={"error": {"code": "server_error"}}, status=500),
    "response_body with an error": line_of(custom_id=ID, response_body=json.dumps({"x": 1}), error="server_error"),
}


@pytest.mark.parametrize("line", FAILED.values(), ids=FAILED.keys())
def test_a_failure_in_another_form_is_a_failure_and_not_an_answer_that_cannot_be_read(line: bytes) -> None:
    answer = answer_to(line)

    assert not answer.succeeded
    assert answer.error_code != "unreadable"


NAMES_NO_ROW = {
    "two ids": line_of(key=ID, id=name_of(1), response=CHAT),
    "an id in a text only": line_of(text=ID, response=CHAT),
    "a number of the line": line_of(index=0, response=CHAT),
    "an id of the provider's": line_of(custom_id="request-1", response=CHAT),
}


@pytest.mark.parametrize("line", NAMES_NO_ROW.values(), ids=NAMES_NO_ROW.keys())
def test_a_line_that_names_no_row_gives_no_row_an_answer_and_no_row_is_bought_again(line: bytes) -> None:
    answers, tally, aside = read([line + b"\n"], rows=2)

    assert not any(answer.succeeded for answer in answers.values())
    assert tally.unreadable + tally.foreign == len(aside) == 1
    assert answers[0, 0].error_code == "unreadable"


def test_a_line_of_another_job_costs_no_row() -> None:
    """It names its row, which is none of this chunk: rows without a line are missing, and are sent again."""
    foreign = a_line(0).replace(DIGEST.encode(), b"deadbeef")
    answers, tally, _ = read([foreign + b"\n"])

    assert (answers[0, 0].error_code, tally.foreign, tally.waiting) == ("missing", 1, 1)


@pytest.mark.slow  # 65 MiB, twice
def test_a_line_over_the_size_limit_costs_the_row_that_its_beginning_names() -> None:
    """What else stands in it is not known: an id further inside may be quoted in the text."""
    long = b'{"custom_id": "%s", "pad": "%s"' % (ID.encode(), b"x" * (65 << 20))
    answers, tally, _ = read([long, b"\n"], rows=2)

    assert [answers[0, row].error_code for row in (0, 1)] == ["unreadable", "missing"]

    answers, tally, _ = read([long.replace(b"{", b'{"text": {"of": "%s"}, ' % name_of(1).encode(), 1), b"\n"], rows=3)

    assert tally.unreadable_rows == 3


def test_a_file_that_is_cut_within_its_last_line_loses_no_other_row() -> None:
    whole = a_line(0) + b"\n" + a_line(1)
    answers, tally, _ = read([whole[:-20]], rows=3)

    assert [answers[0, row].error_code for row in range(3)] == [None, "unreadable", "missing"]
    assert (tally.succeeded, tally.waiting) == (1, 1)


@pytest.mark.parametrize("length", [5, 16])
def test_a_cut_before_the_id_of_the_last_line_costs_nothing(length: int) -> None:
    answers, tally, _ = read([a_line(0) + b"\n" + line_of(custom_id=name_of(1))[:length]], rows=2)

    assert (answers[0, 1].error_code, tally.unreadable) == ("missing", 1)


def test_an_answer_of_an_unknown_shape_keeps_its_tokens_and_its_request_id() -> None:
    body = {"id": "c1", "answer": "yes", "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    answer = answer_to(line_of(custom_id=ID, response={"status_code": 200, "body": body}))

    assert (answer.error_code, answer.input_tokens, answer.output_tokens, answer.request_id) == (
        *("unreadable", 7, 2),
        "c1",
    )


def test_a_readers_own_dialect_of_ids_needs_no_other_place() -> None:
    """A plug-in's reader names the row; its answer is joined by that name."""

    def reader(line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:  # noqa: ARG001 - of the protocol
        name, text = line.decode().split("=")
        return name, Answer(succeeded=True, text=text)

    reconciliation = Reconciliation([(0, 0)], DIGEST)
    assert not list(read_answers([f"{ID}=yes\n".encode()], reconciliation, reader, keep_raw=False))
    _, answers = reconciliation.close(unanswered(Outcome.COMPLETED), may_send_again=True)
    assert [answer.text for _, answer in answers] == ["yes"]


VERTEX: dict[str, Any] = {"key": ID, "processed_time": "2026-11-30T00:00:00Z", "request": {"contents": []}}


@pytest.mark.parametrize(
    ("line", "code", "fault"),
    [
        (line_of(key=ID, error={"code": 14, "message": "The service is unavailable."}), "14", "transient"),
        (line_of(key=ID, status={"code": 14, "message": "The service is unavailable."}), "14", "transient"),
        (line_of(key=ID, status={"code": 3, "message": "Bad."}, response={}), "3", "row"),
        (line_of(custom_id=ID, status="INVALID_ARGUMENT: bad"), "INVALID_ARGUMENT", "row"),
        (line_of(custom_id=ID, status="UNAVAILABLE", response=None), "UNAVAILABLE", "transient"),
        (line_of(**VERTEX, status="RESOURCE_EXHAUSTED: slow", response={}), "RESOURCE_EXHAUSTED", "transient"),
        (line_of(**VERTEX, status='Bad Request: {"error": {"code": 400, "message": "no"}}'), "400", "row"),
        (line_of(**VERTEX, status="Something went wrong."), "error", "transient"),
    ],
)
def test_a_row_whose_status_is_an_error_has_failed_and_is_not_unreadable(line: bytes, code: str, fault: str) -> None:
    answer = answer_to(line)

    assert (answer.succeeded, answer.error_code) == (False, code)
    assert answer.fault is not None
    assert answer.fault.value == fault


@pytest.mark.parametrize(
    "line",
    [
        line_of(key=ID, status="COMPLETED", response={"odd": 1}),
        line_of(key=ID, status="done"),
        line_of(key=ID, status={"code": 0}),
        line_of(**VERTEX, status=""),
        line_of(key=ID, status="INTERNAL", response={"odd": "an answer in an unknown form"}),
    ],
)
def test_a_status_that_may_be_that_of_an_answer_is_no_failure(line: bytes) -> None:
    """It may have been answered in a form that is not known: it is kept, and not bought again."""
    assert answer_to(line).error_code == "unreadable"


def test_vertex_answers_with_an_empty_status_are_read() -> None:
    assert answer_to(line_of(**VERTEX, status="", response=GEMINI)).text == "yes"
