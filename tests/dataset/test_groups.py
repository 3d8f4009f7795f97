"""Groups of rows for writing: bounded in rows and in bytes, wherever the reader's batches end."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from orchestrator.dataset import groups as module
from orchestrator.dataset.groups import gathered, groups, weight


def cut(table: pa.Table, *lengths: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of these lengths, over and over."""
    start = number = 0
    while start < table.num_rows:
        length = lengths[number % len(lengths)]
        yield from table.slice(start, length).combine_chunks().to_batches()
        start, number = start + length, number + 1


def sizes(table: pa.Table, *lengths: int, rows_max: int = 1_000, bytes_max: int = 10_000) -> list[int]:
    found = list(groups(cut(table, *lengths), rows_max=rows_max, bytes_max=bytes_max))
    assert pa.Table.from_batches([batch for group in found for batch in group]).equals(table)
    return [sum(batch.num_rows for batch in group) for group in found]


def test_small_rows_make_groups_of_the_same_number() -> None:
    assert sizes(pa.table({"n": range(2_500)}), 7, bytes_max=10**9) == [1_000, 1_000, 500]


def test_large_rows_make_shorter_groups() -> None:
    """A row takes 8 bytes and its text: 20 of 992 bytes fill 20,000, and a group ends at a multiple of 16."""
    table = pa.table({"t": ["x" * 992] * 100})

    assert sizes(table, 100, bytes_max=20_000) == [32, 32, 32, 4]


@pytest.mark.parametrize("lengths", [(100,), (1,), (3, 50), (16, 1), (99, 2)])
def test_where_a_group_ends_does_not_depend_on_the_batches(lengths: tuple[int, ...]) -> None:
    texts = ["y" * (number * number % 700) for number in range(300)]
    nested = [[{"a": text[:5]}] * (number % 3) for number, text in enumerate(texts)]
    table = pa.table({"t": texts, "nested": nested})

    assert sizes(table, *lengths, rows_max=120) == sizes(table, 300, rows_max=120)


def test_the_weight_of_parts_adds_up_whatever_the_types() -> None:
    pairs = pa.array([[("k", "v")], None, [], [("kk", None)]], pa.map_(pa.string(), pa.string()))
    lists = pa.array([["a", None], None, [], ["bb"]], pa.large_list(pa.string()))
    batch = pa.record_batch(
        {
            "pairs": pairs,
            "lists": lists,
            "fixed": pa.array([[1, 2]] * 4, pa.list_(pa.int8(), 2)),
            "codes": pa.array(["a", "b", "a", None]).dictionary_encode(),
            "ids": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)] * 4, pa.binary(16))),
        }
    )

    assert weight(batch) == weight(batch.slice(0, 1)) + weight(batch.slice(1, 3)) > 0


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((10,), [50, 50, 50, 50]), ((70, 60, 70), [70, 60, 70]), ((1, 99), [100, 100]), ((200,), [200])],
)
def test_small_batches_are_gathered_and_large_ones_stay(lengths: tuple[int, ...], expected: list[int]) -> None:
    table = pa.table({"n": range(200), "k": pa.array(["a", "b"] * 100).dictionary_encode()})
    found = list(gathered(cut(table, *lengths), rows_min=50))

    assert [batch.num_rows for batch in found] == expected
    assert pa.Table.from_batches(found).to_pylist() == table.to_pylist()


def test_gathered_batches_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHERED_BYTES", 3_000)

    assert [batch.num_rows for batch in gathered(cut(pa.table({"t": ["x" * 990] * 9}), 1), rows_min=50)] == [4, 4, 1]


def test_rows_without_columns_and_what_cannot_be_one_array_are_gathered_as_they_are() -> None:
    bare = [pa.RecordBatch.from_arrays([pa.nulls(3)], names=["n"]).select([])] * 2
    lists = [
        pa.record_batch([pa.ListArray.from_arrays([0, 1], pa.array([text]).dictionary_encode())], names=["l"])
        for text in ("a", "b")
    ]

    assert sum(batch.num_rows for batch in gathered(iter(bare), rows_min=50)) == 6
    assert [row for batch in gathered(iter(lists), rows_min=50) for row in batch["l"].to_pylist()] == [["a"], ["b"]]
