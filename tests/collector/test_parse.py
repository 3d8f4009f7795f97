"""Result bytes to answers: what is a line, what is set aside, and that no bytes can stop or mislead the reading."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.collector.lines import BOM, CutLine, lines
from orchestrator.collector.parse import read_answers
from orchestrator.domain.reconcile import Reconciliation
from orchestrator.providers.onerouter.dialect import READER
from tests.collector.builders import DIGEST, a_completion, a_line, a_result, name_of, read
from tests.tiers import examples

MUTATION_COUNT = 20_000


def test_lines_end_at_newlines_and_at_nothing_else() -> None:
    separators = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei".encode()

    assert list(lines([separators + b"\nz\n"])) == [(0, separators), (len(separators) + 1, b"z")]


def test_offsets_count_blank_lines_carriage_returns_and_the_byte_order_mark() -> None:
    stream = BOM + b"a\r\n\r\n  \n\nbc\r\r\nd"

    assert list(lines([stream])) == [(0, b"a"), (12, b"bc\r"), (17, b"d")]
    assert stream[12:14] == b"bc"


def test_a_byte_order_mark_is_dropped_at_the_start_of_the_stream_only() -> None:
    assert list(lines([BOM[:1], BOM[1:] + b"a\n" + BOM + b"b"])) == [(0, b"a"), (5, BOM + b"b")]


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.integers(1, 60))
def test_how_the_stream_is_cut_into_blocks_changes_nothing(stream: bytes, cuts: list[int], line_bytes_max: int) -> None:
    places = [0, *sorted(cuts), len(stream)]
    blocks = [stream[first:end] for first, end in pairwise(places)]

    assert list(lines(blocks, line_bytes_max=line_bytes_max)) == list(lines([stream], line_bytes_max=line_bytes_max))


def test_an_over_long_line_comes_cut_and_the_next_one_whole() -> None:
    found = list(lines([b"a" * 7, b"a" * 7, b"\nbbbbb\n", b"c" * 6], line_bytes_max=5))

    assert found == [(0, b"aaaaa"), (15, b"bbbbb"), (21, b"ccccc")]
    assert [type(line) is CutLine for _, line in found] == [True, False, True]


def test_no_more_than_the_cap_is_kept_of_an_endless_line() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(3_000):
            yield bytes(10_000)  # a new block each time, 30 MB in all

    tracemalloc.start()
    found = list(lines(endless(), line_bytes_max=2_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found) == 1
    assert peak < 6_000_000


DEEP = b"[" * 200_000 + b"]" * 200_000
UNREADABLE = {
    "not JSON": b"<html>502 Bad Gateway</html>",
    "truncated": a_line(0)[:-20],
    "truncated inside a character": a_line(0, body=a_completion("\u72d0")).partition("\u72d0".encode())[0]
    + b"\xe7\x8b",
    "trailing characters": a_line(0) + b" x",
    "two objects": a_line(0) + a_line(1),
    "NUL": b"\x00\x00\x00",
    "invalid UTF-8 in the text": a_line(0).replace(b"yes", b"\xff\xfe"),
    "invalid UTF-8 where nobody looks": a_line(0).replace(b"batch_req_1", b"\xff\xfe"),
    "an encoded surrogate": a_line(0).replace(b"yes", b"\xed\xa0\x80"),
    "no custom_id": a_line(0).replace(b'"custom_id"', b'"customer_id"'),
    "null custom_id": a_line(0).replace(f'"{name_of(0)}"'.encode(), b"null"),
    "number for a custom_id": a_line(0).replace(f'"{name_of(0)}"'.encode(), b"7"),
    "number beyond Python's reach for a custom_id": b'{"custom_id":' + b"9" * 5_000 + b"}",
    "two different custom_ids": a_line(0).replace(b'"id": "batch_req_1"', f'"custom_id": "{name_of(1)}"'.encode()),
    "a list": b"[1, 2]",
    "a string": b'"custom_id"',
    "a number": b"7",
    "null": b"null",
    "too deep": b'{"custom_id": "' + name_of(0).encode() + b'", "response": ' + DEEP + b"}",
    "too deep where nobody looks": b'{"custom_id": "' + name_of(0).encode() + b'", "other": ' + DEEP + b"}",
}


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_line_is_counted_and_set_aside_and_costs_no_other_line(line: bytes) -> None:
    good = a_line(1)
    answers, tally, aside = read([good + b"\n" + line + b"\n"], rows=2)

    assert (tally.lines, tally.unreadable, tally.succeeded, tally.missing) == (2, 1, 1, 1)
    assert [(found.offset, found.line) for found in aside] == [(len(good) + 1, line[: 1024 * 1024])]
    assert answers[0, 1].text == "yes"


def test_no_reason_quotes_the_line() -> None:
    _, _, aside = read([b"\n".join(UNREADABLE.values())])

    assert {found.reason for found in aside} == {
        *("not a JSON object", "not UTF-8", "nested too deep", "no custom_id", "two custom_ids"),
    }


def test_an_over_long_line_is_set_aside_with_its_first_mebibyte() -> None:
    long = a_line(0, body=a_completion("x" * 65 * 1024 * 1024))
    answers, tally, aside = read([long, b"\n", a_line(1)], rows=2)

    assert (tally.unreadable, answers[0, 1].succeeded) == (1, True)
    assert [(found.offset, found.reason, len(found.line)) for found in aside] == [(0, "too long", 1024 * 1024)]
    assert type(aside[0].line) is bytes


def test_a_foreign_line_is_set_aside_and_makes_no_row() -> None:
    foreign = [name_of(7), "00000000-0-0", "../../etc/passwd", name_of(0) + "f", name_of(0).upper() + "F", ""]
    stream = [json.dumps({"custom_id": name, "error": {"code": "x"}}).encode() + b"\n" for name in foreign]
    answers, tally, aside = read(stream)

    assert (tally.foreign, tally.lines, set(answers)) == (len(foreign), len(foreign), {(0, 0)})
    assert {found.reason for found in aside} == {"foreign id"}


def test_a_repeated_line_is_only_counted_and_a_differing_one_is_set_aside() -> None:
    other = a_line(0, body=a_completion("no"))
    _, tally, aside = read([b"\n".join([a_line(0), a_line(0), other, other])])

    assert (tally.lines, tally.duplicates, tally.succeeded) == (4, 3, 1)
    assert [(found.reason, found.line) for found in aside] == [("duplicate", other)]


def test_the_order_of_the_lines_does_not_matter() -> None:
    stream = [
        a_line(0),
        a_line(0, body=a_completion("no")),
        a_line(0, status=500),
        a_line(1),
        a_result(2, type="expired"),
    ]
    first, *others = [read([b"\n".join(random.Random(seed).sample(stream, 5))], rows=3)[:2] for seed in range(10)]

    assert all(other == first for other in others)


WORDS = (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"\n", b"\r", b"\xff", b"\\ud800", b"NaN", b"1e999")
MORE_WORDS = (
    b"-1",
    b"9" * 30,
    b'"custom_id"',
    b'"response"',
    b'"result"',
    b'"error"',
    b'"body"',
    b"true",
    BOM,
    b"\x00",
)


def mutated(stream: bytes, chance: random.Random) -> bytes:
    """Return the stream with one to four pieces cut out, put in, repeated, swapped or flipped."""
    for _ in range(chance.randint(1, 4)):
        first = chance.randrange(len(stream) + 1)
        end = min(len(stream), first + chance.choice((1, 1, 2, 5, 20, 100)))
        match chance.randrange(5):
            case 0:
                stream = stream[:first] + stream[end:]
            case 1:
                stream = stream[:first] + chance.choice(WORDS + MORE_WORDS) + stream[first:]
            case 2:
                stream = stream[:end] + stream[first:]
            case 3:
                stream = stream[:first] + chance.choice(WORDS + MORE_WORDS) + stream[end:]
            case 4:
                stream = stream[:first] + bytes([chance.randrange(256)]) + stream[first + 1 :]
    return stream


VALID = [
    a_line(0),
    a_line(1, status=400, body={"error": {"message": "no", "type": "invalid_request_error", "code": None}}),
    json.dumps(
        {"custom_id": name_of(2), "response": None, "error": {"code": "batch_expired", "message": "late"}}
    ).encode(),
    a_result(3, type="succeeded", message={"content": [{"type": "text", "text": "Grüße"}], "stop_reason": "end_turn"}),
    a_result(4, type="errored", error={"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
    a_line(
        5,
        body={"output": [{"type": "message", "content": [{"type": "output_text", "text": "\u2028"}]}], "status": "ok"},
    ),
]


def check_that_all_is_accounted_for(stream: bytes) -> None:
    """Each line is kept, a duplicate, foreign or unreadable; a row is answered only by a line that names it."""
    reconciliation = Reconciliation([(0, row) for row in range(6)], DIGEST)
    aside = list(read_answers([stream], reconciliation, READER, keep_raw=True))
    tally, answers = reconciliation.close(absent := read([])[0][0, 0], may_send_again=True)
    found = list(lines([stream]))

    kept = tally.lines - tally.duplicates - tally.foreign - tally.unreadable
    assert tally.lines == len(found) or is_broken(found[0][1]), "lines are counted, unless the file may be a document"
    assert kept == 6 - tally.missing
    assert len(aside) >= tally.foreign + tally.unreadable
    for (_, row), answer in answers:
        if answer != absent and answer.error_code != "unreadable":
            stands_in_line = any(is_named(line, name_of(row)) for _, line in found)
            assert stands_in_line or (is_broken(found[0][1]) and name_of(row).encode() in stream), (row, stream)


def is_broken(line: bytes) -> bool:
    try:
        return not isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return True


def is_named(line: bytes, name: str) -> bool:
    """Whether Python's own reader finds the name in any field; it reads NaN too, and the last of two equal keys."""
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and name in [
        text.strip().casefold() for text in value.values() if isinstance(text, str)
    ]


def test_mutated_files_neither_raise_nor_mislead() -> None:
    """Seeded: a failure comes again, and shows its stream."""
    chance = random.Random(20_261_122)
    for _ in range(examples(MUTATION_COUNT)):
        check_that_all_is_accounted_for(mutated(b"\n".join(chance.sample(VALID, 3)) + b"\n", chance))


FIELDS = ["response", "result", "error", "body", "status_code", "choices", "message", "content", "text", "type", "code"]
FIELDS += ["usage", "prompt_tokens", "output", "incomplete_details", "reason", "refusal", "request_id", "id", "status"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), JSON, JSON, st.sampled_from(["response", "result", "error"])), max_size=4))
def test_any_json_in_any_field_is_accounted_for(drawn: list[tuple[int, object, object, str]]) -> None:
    """Lone surrogates, NaN and huge numbers among it, spelled as Python spells them."""
    stream = [json.dumps({"custom_id": name_of(row), field: some, "more": more}) for row, some, more, field in drawn]

    check_that_all_is_accounted_for("\n".join(stream).encode())


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_accounted_for(stream: bytes) -> None:
    check_that_all_is_accounted_for(stream)
