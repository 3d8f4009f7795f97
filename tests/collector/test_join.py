"""Source rows and parts to output rows: every row once, in order, with the right answer or a reason."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.collector.join import Gap, Join, nearest_floats, output_schema, result_fields
from orchestrator.domain.errors import ConfigError, OutputError
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.reconcile import Answer
from orchestrator.job_files.part_cursor import PartCursor
from tests.collector.builders import DIGEST, PRICE, a_completion, a_failure, a_line, a_part, an_answer, name_of, read
from tests.tiers import examples

SOURCE = pa.schema([pa.field("id", pa.int64()), pa.field("body", pa.string())])


def a_source(row_count: int, row_start: int = 0) -> pa.RecordBatch:
    rows = range(row_start, row_start + row_count)
    return pa.RecordBatch.from_arrays(
        [pa.array(rows, pa.int64()), pa.array([f"text {row}" for row in rows])], schema=SOURCE
    )


def a_join(
    *rounds: dict[int, Answer],
    gaps: Sequence[Gap] = (),
    shard_no: int = 0,
    options: OutputOptions | None = None,
    source_schema: pa.Schema = SOURCE,
) -> Join:
    """Return a join of one part per round, from 1."""
    parts = [
        a_part([((shard_no, row), answer) for row, answer in sorted(answers.items())], round_=number, price=PRICE)
        for number, answers in enumerate(rounds, 1)
    ]
    return Join(
        job_digest=DIGEST,
        shard_no=shard_no,
        options=options or OutputOptions(),
        source_schema=source_schema,
        parts=[PartCursor(part, shard_no=shard_no) for part in parts],
        gaps=gaps,
    )


def a_gap(row_start: int, row_end: int, **fields: object) -> Gap:
    return Gap(**{"row_start": row_start, "row_end": row_end, "code": "gone", "message": "m", "round": 1, **fields})  # type: ignore[arg-type]


CUT_A, CUT_B = (an_answer(text, finish_reason="length", error_code="truncated") for text in "ab")
CHOICES = "list<item: struct<response: string, finish_reason: string, tool_calls: string, reasoning: string>>"


def test_the_result_columns_are_those_of_the_design_in_its_order() -> None:
    """Written by hand from DESIGN §11, and a list for several choices."""
    schema = output_schema(SOURCE, OutputOptions(raw=True))

    assert [(field.name, str(field.type)) for field in schema] == [
        ("id", "int64"),
        ("body", "string"),
        ("custom_id", "string"),
        ("llm_response", "string"),
        ("llm_status", "string"),
        ("llm_finish_reason", "string"),
        ("llm_tool_calls", "string"),
        ("llm_reasoning", "string"),
        ("llm_choices", CHOICES),
        ("llm_input_tokens", "int64"),
        ("llm_output_tokens", "int64"),
        ("llm_cached_tokens", "int64"),
        ("llm_reasoning_tokens", "int64"),
        ("llm_cost_usd", "double"),
        ("llm_attempts", "int32"),
        ("llm_batch_id", "string"),
        ("llm_request_id", "string"),
        ("llm_error_code", "string"),
        ("llm_error_message", "string"),
        ("llm_reused_from", "string"),
        ("llm_raw", "string"),
    ]
    assert "llm_raw" not in result_fields(OutputOptions()).names


def test_the_output_page_documents_the_columns_in_their_order() -> None:
    page = (Path(__file__).parents[2] / "docs/output.md").read_text(encoding="utf-8")
    table = page.partition("## Columns")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| [a-z]", table, re.MULTILINE)

    assert documented == result_fields(OutputOptions(raw=True), vector_type=pa.list_(pa.float32(), 2)).names


def test_each_row_gets_its_answer_or_its_reason() -> None:
    answer = an_answer("yes", input_tokens=1_000, output_tokens=10, raw="{}")
    join = a_join({0: answer, 1: a_failure("400")}, gaps=[a_gap(2, 3)], options=OutputOptions(raw=True))
    rows = join.add(a_source(3), row_start=0).to_pylist()

    assert rows[0] == {
        "id": 0,
        "body": "text 0",
        "custom_id": "9f86d081-0-0",
        "llm_response": "yes",
        "llm_status": "succeeded",
        "llm_finish_reason": "stop",
        "llm_tool_calls": None,
        "llm_reasoning": None,
        "llm_choices": None,
        "llm_input_tokens": 1_000,
        "llm_output_tokens": 10,
        "llm_cached_tokens": None,
        "llm_reasoning_tokens": None,
        "llm_cost_usd": 0.000078,
        "llm_attempts": 1,
        "llm_batch_id": "batch_1",
        "llm_request_id": "r",
        "llm_error_code": None,
        "llm_error_message": None,
        "llm_reused_from": None,
        "llm_raw": "{}",
    }
    assert [rows[1][f"llm_{name}"] for name in ("status", "error_code", "error_message")] == [
        "failed",
        "400",
        "it broke",
    ]
    assert [rows[2][f"llm_{name}"] for name in ("status", "error_code", "error_message")] == ["failed", "gone", "m"]
    assert (join.counts.succeeded, join.counts.failed) == (1, 2)
    assert join.counts.by_error_code == Counter({"400": 1, "gone": 1})


@pytest.mark.parametrize(
    ("rounds", "response", "code", "attempts"),
    [
        ([an_answer("a"), an_answer("b")], "a", None, 1),
        ([a_failure("1"), an_answer("b"), a_failure("3")], "b", None, 2),
        ([a_failure("1"), a_failure("2")], None, "2", 2),
        ([a_failure("1"), None, None], None, "1", 1),
        ([None, a_failure("2")], None, "2", 2),
        ([None, None], None, "gone", 7),
        ([CUT_A, CUT_B], "b", "truncated", 2),
        ([CUT_A, a_failure("2")], "a", "truncated", 1),
        ([CUT_A, an_answer("whole"), CUT_B], "whole", None, 2),
        ([a_failure("1"), CUT_B, a_failure("3")], "b", "truncated", 2),
    ],
)
def test_the_first_whole_answer_wins_else_the_last_other_else_the_last_failure_else_the_gap(
    rounds: list[Answer | None], response: str | None, code: str | None, attempts: int
) -> None:
    parts = [{} if answer is None else {0: answer} for answer in rounds]
    row = a_join(*parts, gaps=[a_gap(0, 1, round=7)]).add(a_source(1), row_start=0).to_pylist()[0]

    assert (row["llm_response"], row["llm_error_code"], row["llm_attempts"]) == (response, code, attempts)


def test_of_two_gaps_over_a_row_the_later_one_speaks() -> None:
    join = a_join(gaps=[a_gap(0, 4, code="first", round=0), a_gap(1, 2, code="second"), a_gap(9, 12)])

    assert join.add(a_source(4), row_start=0)["llm_error_code"].to_pylist() == ["first", "second", "first", "first"]


def test_a_row_without_an_answer_or_a_reason_stops_the_join() -> None:
    join = a_join({0: an_answer(), 2: an_answer()}, shard_no=5, gaps=[a_gap(3, 4)])

    with pytest.raises(OutputError, match="row 1 of shard 5 has no answer and no reason"):
        join.add(a_source(4), row_start=0)


def test_the_row_that_is_named_is_counted_in_the_shard() -> None:
    join = a_join(dict.fromkeys(range(5), an_answer()))
    join.add(a_source(5), row_start=0)

    with pytest.raises(OutputError, match="row 5 of"):
        join.add(a_source(1, 5), row_start=5)


def test_a_join_may_start_in_the_middle_of_its_shard() -> None:
    join = a_join({row: an_answer(str(row)) for row in range(300)}, shard_no=0xAB)
    output = join.add(a_source(3, 200), row_start=200)

    assert output["llm_response"].to_pylist() == ["200", "201", "202"]
    assert output["custom_id"].to_pylist() == [name_of(row, 0xAB) for row in (200, 201, 202)]


def test_a_batch_that_does_not_follow_the_last_one_stops_the_join() -> None:
    join = a_join({row: an_answer() for row in range(9)})
    join.add(a_source(3), row_start=0)

    with pytest.raises(OutputError, match="row 4 after row 3"):
        join.add(a_source(3, 4), row_start=4)


def test_a_source_with_other_columns_stops_the_join() -> None:
    other = pa.RecordBatch.from_pydict({"id": ["0"], "body": ["text 0"]})

    with pytest.raises(OutputError, match="other columns"):
        a_join({0: an_answer()}).add(other, row_start=0)


def test_an_empty_batch_gives_an_empty_batch() -> None:
    assert a_join().add(a_source(0), row_start=0).num_rows == 0
    assert a_join({0: an_answer()}).add(a_source(0), row_start=0).schema == output_schema(SOURCE, OutputOptions())


RECORDS = st.dictionaries(st.integers(0, 39), st.sampled_from(["ok", "no", "late"]), max_size=40)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(RECORDS, max_size=3), st.lists(st.integers(0, 40), max_size=5))
def test_the_output_does_not_depend_on_how_the_source_is_cut(rounds: list[dict[int, str]], cuts: list[int]) -> None:
    """Against a plain reading of the rule, row by row."""
    parts = [
        {row: an_answer(f"{n} {row}") if word == "ok" else a_failure(word) for row, word in words.items()}
        for n, words in enumerate(rounds, 1)
    ]
    gaps = [a_gap(0, 40, round=0)]
    whole = a_join(*parts, gaps=gaps).add(a_source(40), row_start=0)
    places = sorted({0, *cuts, 40})
    join = a_join(*parts, gaps=gaps)
    pieces = [join.add(a_source(end - row, row), row_start=row) for row, end in pairwise(places)]

    assert pa.Table.from_batches(pieces).combine_chunks() == pa.Table.from_batches([whole])
    for row in range(40):
        tried = [(n, words[row]) for n, words in enumerate(rounds, 1) if row in words]
        good = [n for n, word in tried if word == "ok"]
        n, word = (good[0], None) if good else (tried[-1] if tried else (0, "gone"))
        assert whole["llm_response"][row].as_py() == (f"{n} {row}" if good else None)
        assert (whole["llm_attempts"][row].as_py(), whole["llm_error_code"][row].as_py()) == (n, word)
    assert join.counts.succeeded + join.counts.failed == 40 == join.counts.succeeded + join.counts.by_error_code.total()


LINES = [a_line(row, body=a_completion(f"text {row}")) for row in range(12)]
LINES += [a_line(3, status=500), a_line(4, body=a_completion("another")), a_line(5), a_line(5)]


@settings(max_examples=examples(30), deadline=None)
@given(st.permutations(LINES))
def test_the_order_of_the_result_lines_changes_no_byte(shuffled: list[bytes]) -> None:
    def as_part(stream: Sequence[bytes]) -> bytes:
        answers, _, _ = read([b"\n".join(stream)], rows=13)
        return a_part(list(answers.items()), price=PRICE).getvalue()

    def as_output(part: bytes) -> pa.RecordBatch:
        cursor = PartCursor(BytesIO(part), shard_no=0)
        join = Join(
            job_digest=DIGEST, shard_no=0, options=OutputOptions(), source_schema=SOURCE, parts=[cursor], gaps=[]
        )
        return join.add(a_source(13), row_start=0)

    assert as_part(shuffled) == as_part(LINES)
    assert as_output(as_part(shuffled)) == as_output(as_part(LINES))


def test_rows_find_their_answers_among_thousands() -> None:
    chance = random.Random(7)
    rows = chance.sample(range(30_000), 30_000)
    rounds: list[dict[int, Answer]] = [{}, {}, {}]
    for row in rows:
        chance.choice(rounds)[row] = an_answer(f"answer {row}")
    join = a_join(*rounds)
    places = [0, *sorted(chance.sample(range(30_000), 9)), 30_000]
    batches = [join.add(a_source(end - row, row), row_start=row) for row, end in pairwise(places)]
    table = pa.Table.from_batches(batches)

    assert table["id"].to_pylist() == list(range(30_000))
    assert table["llm_response"].to_pylist() == [f"answer {row}" for row in range(30_000)]
    assert table["custom_id"].to_pylist() == [name_of(row) for row in range(30_000)]


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (["id", "llm_status"], OutputOptions(), ["'llm_status'", "output.prefix"]),
        (["custom_id"], OutputOptions(), ["'custom_id'", "output.custom_id"]),
        (["response"], OutputOptions(prefix=""), ["'response'", "output.prefix"]),
        (["id"], OutputOptions(custom_id="llm_status"), ["'llm_status'", "output.prefix", "output.custom_id"]),
    ],
)
def test_a_clash_of_names_is_refused_naming_column_and_setting(
    columns: list[str], options: OutputOptions, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        output_schema(pa.schema([(name, pa.string()) for name in columns]), options)

    assert all(word in str(refusal.value) for word in words)


def test_a_column_called_as_the_raw_one_is_no_clash_where_raw_is_not_asked_for() -> None:
    assert output_schema(pa.schema([("llm_raw", pa.string())]), OutputOptions())

    with pytest.raises(ConfigError):
        output_schema(pa.schema([("llm_raw", pa.string())]), OutputOptions(raw=True))


FRAMES = {
    "range index": pd.DataFrame({"a": [1, 2]}),
    "a range index of its own": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(10, 14, 2)),
    "named columns of special types": pd.DataFrame(
        {
            "category": pd.Categorical(["x", "y"]),
            "nullable": pd.array([1, None], dtype="Int64"),
            "at": pd.to_datetime([datetime(2026, 1, 1, tzinfo=UTC)] * 2),
        }
    ),
    "an index of its own": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["p", "q"], name="key")),
    "numbers for columns": pd.DataFrame([[1, 2], [3, 4]]),
    "tuples for columns": pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_what_came_from_pandas_goes_back_to_pandas(frame: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(frame)
    join = a_join({0: an_answer(), 1: an_answer()}, source_schema=table.schema)
    output = pa.Table.from_batches([join.add(table.to_batches()[0], row_start=0)]).to_pandas()

    assert list(output["llm_response"]) == ["yes", "yes"]
    assert list(output.index) == list(frame.index)
    assert list(output.dtypes)[: len(frame.columns)] == list(frame.dtypes)


def test_a_piece_of_what_came_from_pandas_goes_back_too() -> None:
    """Its range index counted the rows of the whole."""
    table = pa.Table.from_pandas(pd.DataFrame({"id": [1, 2, 3], "body": "x"})).slice(1, 2)
    join = a_join({row: an_answer() for row in range(3)}, source_schema=table.schema)
    output = pa.Table.from_batches([join.add(table.to_batches()[0], row_start=1)]).to_pandas()

    assert list(output["id"]) == [2, 3]


@pytest.mark.parametrize("pandas", [b"{", b"[]", b"{}", b'{"column_indexes": 7}', b"\xff"])
def test_pandas_metadata_that_cannot_be_understood_is_left_out(pandas: bytes) -> None:
    schema = output_schema(SOURCE.with_metadata({b"pandas": pandas, b"geo": b"x"}), OutputOptions())

    assert schema.metadata == {b"geo": b"x"}


def test_long_answers_are_joined_in_pieces_and_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: what is joined at once is bounded by the bytes of the answers, and no answer is in two pieces."""
    answers = {row: an_answer(f"{row} " + "x" * 1_000) for row in range(64)}
    whole = a_join(answers).add(a_source(64), row_start=0)

    monkeypatch.setattr("orchestrator.collector.join.ANSWER_BYTES_MAX", 10_000)
    pieces = list(a_join(answers).pieces(a_source(64), row_start=0))

    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([whole]))
    assert 8 <= len(pieces) <= 16


def test_a_cost_is_the_float_that_is_nearest_to_the_amount() -> None:
    """Arrow's own cast is another float for four amounts in ten."""
    amounts = [None, *(Decimal(number**3 + number).scaleb(-9) for number in range(2_000))]

    found = nearest_floats(pa.chunked_array([pa.array(amounts, pa.decimal128(18, 9))]))

    assert found.to_pylist() == [None if amount is None else float(amount) for amount in amounts]
