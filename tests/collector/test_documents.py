"""A result file that is one JSON document: its results are found, and nothing else is taken for one."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.collector.builders import a_completion, a_line, name_of, read

QUOTED = f'"]}}[{{ "custom_id": "{name_of(2)}" \\ " {{'
RESULTS = [json.loads(a_line(row, body=a_completion(QUOTED if row else "yes"))) for row in range(3)]
TEXTS = ["yes", QUOTED, QUOTED]
STATUS = {"id": "batch_1", "status": "completed", "counts": [{"total": 3}]}

DOCUMENTS: dict[str, Any] = {
    "an array": RESULTS,
    "results": STATUS | {"results": RESULTS},
    "results before the status": {"results": RESULTS} | STATUS,
    "data": {"object": "list", "data": RESULTS, "has_more": False},
    "output": {"batch": STATUS, "output": RESULTS},
    "answers and errors apart": {"results": RESULTS[:1], "errors": RESULTS[1:]},
    "four objects deep": {"metadata": {"state": "X", "output": {"inlined": {"inlined": RESULTS}}}},
}


@pytest.mark.parametrize("indent", [None, 2], ids=["one line", "many lines"])
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_the_results_in_a_document_are_read(document: Any, indent: int | None) -> None:
    answers, tally, aside = read([json.dumps(document, indent=indent).encode()], rows=3)

    assert [answers[0, row].text for row in range(3)] == TEXTS
    assert (tally.lines, tally.succeeded, aside) == (3, 3, [])


@given(st.lists(st.integers(0, 900), max_size=6), st.sampled_from(sorted(DOCUMENTS)), st.sampled_from([None, 1]))
def test_how_a_document_is_cut_into_blocks_changes_nothing(cuts: list[int], name: str, indent: int | None) -> None:
    text = b"\xef\xbb\xbf" + json.dumps(DOCUMENTS[name], indent=indent).encode()
    places = [0, *sorted(cuts), len(text)]
    blocks = [text[first:end] for first, end in pairwise(places)]

    assert read(blocks, rows=3)[:2] == read([text], rows=3)[:2]


def test_what_is_set_aside_of_a_document_stands_at_its_offset() -> None:
    odd = {"custom_id": name_of(1), "outcome": "yes"}
    text = json.dumps({"results": [RESULTS[0], odd]}).encode()
    _, _, (found,) = read([text], rows=2)

    assert text[found.offset :].startswith(found.line)
    assert json.loads(found.line) == odd


LINES: dict[str, tuple[bytes, int]] = {
    "lines that end in no newline": (a_line(0) + b"\n" + a_line(1), 2),
    "an answer that lists results": (a_line(0, body=a_completion(json.dumps(RESULTS[1:]))), 1),
    "a line with a list of results beside": (a_line(0, history=RESULTS[1:]), 1),
    "one line": (a_line(0), 1),
}


@pytest.mark.parametrize(("text", "count"), LINES.values(), ids=LINES.keys())
def test_lines_are_no_document(text: bytes, count: int) -> None:
    _, tally, aside = read([text], rows=3)

    assert (tally.lines, tally.succeeded, aside) == (count, count, [])


NO_RESULTS: dict[str, bytes] = {
    "a status without results": json.dumps(STATUS).encode() + b"\n",
    "results of another job": json.dumps({"results": [{"custom_id": "deadbeef-0-0"}]}).encode() + b"\n",
    "results that name no row": json.dumps([{"index": 0, "response": a_completion()}]).encode() + b"\n",
    "deeper than anyone nests": b"[" * 5_000 + json.dumps(RESULTS[:2]).encode() + b"]" * 5_000,
}


@pytest.mark.parametrize("text", NO_RESULTS.values(), ids=NO_RESULTS.keys())
def test_a_document_without_results_of_ours_is_one_line_that_cannot_be_read(text: bytes) -> None:
    answers, tally, aside = read([text], rows=2)

    assert (tally.unreadable, len(aside)) == (1, 1)
    assert {answer.error_code for answer in answers.values()} == {"unreadable"}


def test_a_document_that_is_cut_gives_what_is_whole_in_it() -> None:
    """The row in which it is cut is named, and may have been answered; the last one is missing."""
    text = json.dumps({"results": RESULTS}).encode()
    end = text.index(b"chatcmpl", text.index(f'"custom_id": "{name_of(1)}'.encode()))
    answers, tally, _ = read([text[:end]], rows=3)

    assert [answers[0, row].error_code for row in range(3)] == [None, "unreadable", "missing"]
    assert (tally.succeeded, tally.unreadable) == (1, 1)


def test_what_follows_a_document_is_read_as_lines() -> None:
    """Nothing is dropped in silence: a row whose answer were overlooked would be bought again."""
    text = json.dumps({"results": RESULTS[:1]}).encode() + b"\n" + a_line(1) + b"\n" + b'{"results": []}\n'
    answers, tally, aside = read([text], rows=3)

    assert (answers[0, 0].text, answers[0, 1].text, answers[0, 2].error_code) == ("yes", "yes", "unreadable")
    assert (tally.lines, [text[one.offset :] for one in aside]) == (3, [b'{"results": []}\n'])
