"""The parsed results of one chunk: what they cost, and how they are read back."""

from __future__ import annotations

import gc
import random
import tracemalloc
from decimal import Decimal
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import OutputError, StorageError
from orchestrator.domain.policy import LongPrompt, Price
from orchestrator.domain.reconcile import Answer, RowKey
from orchestrator.job_files import result_parts
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import PART_SCHEMA, Failed, read_failed, write_part
from tests.collector.builders import PRICE, a_failure, a_part, an_answer

ROWS: list[tuple[RowKey, Answer]] = [
    ((0, 3), an_answer(input_tokens=1_000, output_tokens=200)),
    ((0, 4), a_failure(retryable=False)),
    ((2, 0), a_failure("429", input_tokens=1_000)),
    ((2, 1), an_answer("Grüße", input_tokens=3_000, output_tokens=0, raw="{}")),
]


def written(
    rows: list[tuple[RowKey, Answer]], fees: str | None, price: Price | None
) -> tuple[Decimal | None, pa.Table]:
    out = BytesIO()
    fees_usd = None if fees is None else Decimal(fees)
    cost = write_part(out, iter(rows), batch_id="b", round=2, fees_usd=fees_usd, price=price).cost_usd
    return cost, pq.read_table(BytesIO(out.getvalue()))


def costs(table: pa.Table) -> list[str | None]:
    return [None if cost is None else f"{cost:f}" for cost in table["cost_usd"].to_pylist()]


def test_a_part_holds_what_was_answered() -> None:
    _, table = written(ROWS, None, None)

    assert table.schema.equals(PART_SCHEMA)
    assert table.to_pylist()[3] == {
        "shard": 2,
        "row": 1,
        "succeeded": True,
        "retryable": False,
        "text": "Grüße",
        "finish_reason": "stop",
        "tool_calls": None,
        "reasoning": None,
        "choices": None,
        "input_tokens": 3_000,
        "output_tokens": 0,
        "cached_tokens": None,
        "reasoning_tokens": None,
        "cost_usd": None,
        "round": 2,
        "batch_id": "b",
        "request_id": "r",
        "error_code": None,
        "error_message": None,
        "raw": "{}",
        "embedding": None,
        "content_key": None,
        "reused_from": None,
    }


def test_without_fees_a_row_costs_its_tokens_times_the_price() -> None:
    cost, table = written(ROWS, None, PRICE)

    assert costs(table) == ["0.000135000", None, "0.000075000", "0.000225000"]
    assert cost == Decimal("0.000435")


def test_a_row_costs_by_the_length_of_its_own_prompt_and_what_of_it_was_cached() -> None:
    """A long prompt costs all of its tokens more; the next row does not."""
    long = LongPrompt(over_tokens=2_000, input_usd=Decimal(4), output_usd=Decimal(6))
    price = Price(input_usd=Decimal(2), output_usd=Decimal(4), cached_usd=Decimal(1), long=long)
    rows: list[tuple[RowKey, Answer]] = [
        ((0, 0), an_answer(input_tokens=2_000, output_tokens=100)),
        ((0, 1), an_answer(input_tokens=2_001, output_tokens=100)),
        ((0, 2), an_answer(input_tokens=2_000, output_tokens=100, cached_tokens=1_500)),
    ]

    cost, table = written(rows, None, price)

    assert costs(table) == ["0.004400000", "0.008604000", "0.002900000"]
    assert cost == Decimal("0.015904")


def test_fees_are_shared_out_by_price_weighted_tokens() -> None:
    """Weights 1000 + 4 x 200, nothing, 1000 and 3000; failed rows without usage bear nothing."""
    cost, table = written(ROWS, "0.000005800", PRICE)

    assert costs(table) == ["0.000001800", "0.000000000", "0.000001000", "0.000003000"]
    assert cost == Decimal("0.0000058")


def test_without_a_price_fees_are_shared_out_by_tokens() -> None:
    _, table = written(ROWS, "0.000005200", None)

    assert costs(table) == ["0.000001200", "0.000000000", "0.000001000", "0.000003000"]


def test_where_no_row_says_what_it_used_the_succeeded_ones_share_the_fees() -> None:
    rows = [((0, 0), an_answer()), ((0, 1), a_failure()), ((0, 2), an_answer())]
    _, table = written(rows, "0.000000003", PRICE)

    assert costs(table) == ["0.000000002", "0.000000000", "0.000000001"]


def test_fees_are_the_chunks_cost_even_where_no_row_can_bear_them() -> None:
    cost, table = written([((0, 0), a_failure())], "1.5", PRICE)

    assert (cost, costs(table)) == (Decimal("1.5"), ["0.000000000"])


@settings(deadline=None)
@given(st.decimals(0, 1_000, places=9), st.lists(st.integers(0, 2**40) | st.none(), min_size=1, max_size=20))
def test_shares_add_up_to_the_fees(fees_usd: Decimal, tokens: list[int | None]) -> None:
    rows: list[tuple[RowKey, Answer]] = [((0, row), an_answer(output_tokens=n)) for row, n in enumerate(tokens)]
    cost, table = written(rows, str(fees_usd), PRICE)

    assert cost == fees_usd == sum(table["cost_usd"].to_pylist())


@pytest.mark.parametrize(
    ("rows", "price"),
    [
        (ROWS, None),
        ([((0, 0), an_answer()), *ROWS], PRICE),
        ([((0, 0), a_failure())], None),
        ([((0, 0), an_answer(input_tokens=2**40))], Price(input_usd=Decimal(1_000_000), output_usd=Decimal(0))),
    ],
    ids=["no price", "an answer that does not say what it used", "no price and no answer", "a figure beyond any sense"],
)
def test_a_cost_that_is_not_known_is_none(rows: list[tuple[RowKey, Answer]], price: Price | None) -> None:
    cost, table = written(rows, None, price)

    assert cost is None
    assert table["cost_usd"].null_count >= 1


@pytest.mark.parametrize(
    ("fees", "price", "expected"), [(None, None, 3), (None, PRICE, 1), ("0.1", None, 0), ("0.1", PRICE, 0)]
)
def test_answers_whose_cost_is_not_known_are_counted(fees: str | None, price: Price | None, expected: int) -> None:
    """Of three answers one does not say what it used; failed rows are not counted."""
    rows = [
        ((0, 0), an_answer()),
        ((0, 1), an_answer(input_tokens=7)),
        ((0, 2), a_failure()),
        ((0, 3), an_answer(output_tokens=7)),
    ]
    fees_usd = None if fees is None else Decimal(fees)

    unpriced = write_part(BytesIO(), iter(rows), batch_id="b", round=1, fees_usd=fees_usd, price=price).unpriced

    assert unpriced == expected


def test_failures_that_say_nothing_of_tokens_cost_nothing() -> None:
    assert written([((0, 0), a_failure())], None, PRICE)[0] == 0


def test_fees_beyond_any_sense_are_not_believed() -> None:
    assert written(ROWS, "1e20", PRICE)[0] == Decimal("0.000435")


def test_the_same_rows_give_the_same_bytes() -> None:
    assert a_part(ROWS, price=PRICE).getvalue() == a_part(list(ROWS), price=PRICE).getvalue()


def test_a_part_of_no_rows_can_be_read() -> None:
    assert read_failed(a_part([]), Failed.ALL) == []
    assert PartCursor(a_part([]), shard_no=0).take(10).num_rows == 0


def test_row_groups_are_bounded_in_rows_and_in_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_parts, "GROUP_LENGTH_MAX", 30_000)
    rows: list[tuple[RowKey, Answer]] = [((0, row), an_answer("")) for row in range(25_000)]
    rows += [((1, row), an_answer("x" * 20_000, raw="y" * 10_001)) for row in range(3)]
    metadata = pq.ParquetFile(a_part(rows)).metadata

    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [10_000, 10_000, 5_001, 1, 1]


def test_rows_to_be_sent_again_are_those_that_failed_and_may_be() -> None:
    assert read_failed(a_part(ROWS), Failed.RETRYABLE) == [(2, 0)]
    assert read_failed(a_part(ROWS), Failed.FAILED) == [(0, 4)]
    assert read_failed(a_part(ROWS), Failed.ALL) == [(0, 4), (2, 0)]


def taken(cursor: PartCursor, row_end: int) -> list[int]:
    return list(cursor.take(row_end)["row"].to_pylist())


def test_a_cursor_gives_its_shards_rows_in_order_once() -> None:
    rows = [((shard, row), an_answer()) for shard in range(3) for row in range(0, 30, 3)]
    cursor = PartCursor(a_part(rows), shard_no=1)

    assert taken(cursor, 7) == [0, 3, 6]
    assert taken(cursor, 7) == []
    assert taken(cursor, 9) == []
    assert taken(cursor, 10) == [9]
    assert taken(cursor, 1_000) == [12, 15, 18, 21, 24, 27]
    assert taken(cursor, 2_000) == []


def test_a_cursor_skips_forwards() -> None:
    cursor = PartCursor(a_part([((0, row), an_answer()) for row in range(10)]), shard_no=0)
    cursor.skip(4)

    assert taken(cursor, 6) == [4, 5]
    cursor.skip(8)
    assert taken(cursor, 10) == [8, 9]


@settings(deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 2), st.integers(0, 40))),
    st.lists(st.integers(0, 45), max_size=6),
    st.integers(0, 9),
)
def test_however_rows_are_taken_each_comes_once(keys: set[RowKey], ends: list[int], row_start: int) -> None:
    cursor = PartCursor(a_part([(key, an_answer()) for key in sorted(keys)]), shard_no=1)
    cursor.skip(row_start)
    found = [taken(cursor, row_end) for row_end in [*sorted(ends), 50]]

    assert [row for rows in found for row in rows] == [
        row for shard, row in sorted(keys) if shard == 1 and row >= row_start
    ]


class CountingFile(BytesIO):
    """A file that knows how much was read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


def test_row_groups_without_wanted_rows_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_parts, "GROUP_ROWS_MAX", 10)
    chance = random.Random(1)  # a text that cannot be compressed, or the footer is most of the part
    rows = [((shard, row), an_answer(chance.randbytes(2_000).hex())) for shard in range(20) for row in range(10)]
    part = a_part(rows).getvalue()
    wanted, skipped = CountingFile(part), CountingFile(part)
    assert taken(PartCursor(wanted, shard_no=7), 100) == list(range(10))
    cursor = PartCursor(skipped, shard_no=7)
    cursor.skip(10)
    assert taken(cursor, 100) == []

    assert skipped.read_bytes < wanted.read_bytes < len(part) / 2


@pytest.mark.slow
def test_reading_a_part_takes_no_more_memory_than_a_slice() -> None:
    """Forty times the rows: Arrow's own peak stays within a small multiple."""
    peaks = []
    for row_count in (20_000, 200_000):
        rows: list[tuple[RowKey, Answer]] = [((0, row), an_answer(f"{row} " * 20)) for row in range(row_count)]
        part = a_part(rows)
        del rows
        gc.collect()
        cursor, before, peak = PartCursor(part, shard_no=0), pa.total_allocated_bytes(), 0
        for row_end in range(5_000, row_count + 1, 5_000):
            assert cursor.take(row_end).num_rows == 5_000
            peak = max(peak, pa.total_allocated_bytes() - before)
        peaks.append(peak)

    assert peaks[1] < 2 * peaks[0]


def test_a_cursor_that_waits_for_its_rows_holds_none() -> None:
    part = a_part([((0, row), an_answer(f"{row} " * 20)) for row in range(50_000, 60_000)])
    cursor, before = PartCursor(part, shard_no=0), pa.total_allocated_bytes()

    assert cursor.take(50_000).num_rows == 0
    assert pa.total_allocated_bytes() - before < 10_000
    assert taken(cursor, 50_001) == [50_000]


@pytest.mark.slow
def test_writing_a_part_takes_no_more_memory_than_a_slice() -> None:
    class Sink(BytesIO):
        def write(self, content: object, /) -> int:
            return len(memoryview(content))  # type: ignore[arg-type]

    peaks = []
    answer = an_answer("x" * 100)
    for row_count in (20_000, 200_000):
        tracemalloc.start()
        write_part(
            Sink(), (((0, row), answer) for row in range(row_count)), batch_id="b", round=1, fees_usd=None, price=None
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 2 * peaks[0]


@pytest.mark.parametrize("rows", [[0, 1, 1], [0, 2, 1]])
def test_a_part_with_a_row_twice_or_out_of_order_is_refused(rows: list[int]) -> None:
    cursor = PartCursor(a_part([((4, row), an_answer()) for row in rows]), shard_no=4)

    with pytest.raises(OutputError, match="row 1 of shard 4 twice or out of order"):
        cursor.take(10)


def test_disorder_is_seen_across_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_parts, "GROUP_ROWS_MAX", 2)
    cursor = PartCursor(a_part([((4, row), an_answer()) for row in (0, 1, 1, 2)]), shard_no=4)

    with pytest.raises(OutputError, match="row 1 of shard 4"):
        cursor.take(10)


def other_columns() -> bytes:
    out = BytesIO()
    pq.write_table(pa.table({"row": [1]}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1 no Parquet PAR1", a_part(ROWS).getvalue()[:-9], other_columns()],
    ids=["empty", "no", "cut", "other"],
)
def test_a_file_that_is_no_part_is_refused(content: bytes) -> None:
    with pytest.raises(StorageError):
        PartCursor(BytesIO(content), shard_no=0)
    with pytest.raises(StorageError):
        read_failed(BytesIO(content), Failed.ALL)


def test_a_damaged_part_is_refused() -> None:
    part = bytearray(a_part([((0, row), an_answer(f"{row}")) for row in range(2_000)]).getvalue())
    part[100:2_000] = bytes(1_900)

    with pytest.raises(StorageError):
        PartCursor(BytesIO(part), shard_no=0).take(2_000)


def test_the_files_stay_the_callers_to_close() -> None:
    out = BytesIO()
    write_part(out, iter(ROWS), batch_id="b", round=1, fees_usd=None, price=None)
    cursor = PartCursor(out, shard_no=0)
    cursor.take(1)
    del cursor
    gc.collect()

    assert not out.closed
