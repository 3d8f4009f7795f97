"""One column of every Arrow type, with a value, a null and an empty value where the type has one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

NOON = datetime(2024, 2, 29, 12, 0, 0)  # noqa: DTZ001 - of a column without a time zone
VIEWS = pa.array(["a", ""], pa.string_view())
MEMBERS = [pa.array([1]), pa.array(["x"])]
ONE_DEEP: list[tuple[str, Any]] = [
    ("null", pa.nulls(3)),
    ("bool", pa.array([True, None, False])),
    *((str(kind), pa.array([1, None, 0], kind)) for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16())),
    *((str(kind), pa.array([1, None, 0], kind)) for kind in (pa.int32(), pa.uint32(), pa.int64(), pa.uint64())),
    ("uint64 above int64", pa.array([2**64 - 1, None, 0], pa.uint64())),
    *((str(kind), pa.array([1.5, None, 0.0], kind)) for kind in (pa.float32(), pa.float64())),
    ("halffloat", pa.array([1.5, None, 0.0]).cast(pa.float16())),
    *((str(kind), pa.array(["é", None, ""], kind)) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((str(kind), pa.array([b"\xff", None, b""], kind)) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    ("binary(2)", pa.array([b"\x00\xff", None, b"ab"], pa.binary(2))),
    ("date32", pa.array([date(2024, 2, 29), None, date(1970, 1, 1)], pa.date32())),
    ("date64", pa.array([date(2024, 2, 29), None, date(1970, 1, 1)], pa.date64())),
    *((f"time32 {unit}", pa.array([time(12), None, time(0)], pa.time32(unit))) for unit in ("s", "ms")),
    *((f"time64 {unit}", pa.array([time(12), None, time(0)], pa.time64(unit))) for unit in ("us", "ns")),
    *((f"timestamp {unit}", pa.array([NOON, None, NOON], pa.timestamp(unit))) for unit in ("s", "ms", "us", "ns")),
    ("timestamp with zone", pa.array([NOON.replace(tzinfo=UTC), None, None], pa.timestamp("us", "Europe/Berlin"))),
    *((f"duration {unit}", pa.array([timedelta(1), None], pa.duration(unit))) for unit in ("s", "ms", "us", "ns")),
    ("month_day_nano", pa.array([pa.MonthDayNano([1, 2, 3]), None, None])),
    ("decimal128", pa.array([Decimal("1.20"), None, Decimal(0)], pa.decimal128(10, 2))),
    ("decimal256", pa.array([Decimal("1.20"), None, Decimal(0)], pa.decimal256(60, 2))),
    ("decimal of 90 digits", pa.array([None, None, None], pa.decimal256(76, -14))),
    ("decimal, negative scale", pa.array([Decimal(1200), None, Decimal(0)], pa.decimal128(5, -2))),
    ("dictionary of texts", pa.array(["a", None, ""]).dictionary_encode()),
    ("dictionary of numbers", pa.array([7, None, 0]).dictionary_encode()),
    ("dictionary of views", pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), VIEWS)),
    ("dictionary with a null value", pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["a", None]))),
    ("dictionary of bools", pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), pa.array([True, False]))),
    ("dictionary of nulls", pa.DictionaryArray.from_arrays(pa.array([0, None, 0]), pa.nulls(1))),
    ("run ends", pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["a", None]))),
    ("list", pa.array([[1, None], None, []], pa.list_(pa.int64()))),
    ("large list", pa.array([[1, None], None, []], pa.large_list(pa.int64()))),
    ("list view", pa.array([[1, None], None, []], pa.list_view(pa.int64()))),
    ("large list view", pa.array([[1, None], None, []], pa.large_list_view(pa.int64()))),
    ("fixed list", pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2))),
    ("struct", pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": ""}])),
    ("struct without fields", pa.array([{}, None, {}], pa.struct([]))),
    ("map", pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64()))),
    ("dense union", pa.UnionArray.from_dense(pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), MEMBERS)),
    ("uuid", pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16), None, bytes(range(16))], pa.binary(16)))),
]  # fmt: skip


def columns() -> Iterator[tuple[str, Any]]:
    """Yield every type, and every type within a list and within an object."""
    for name, values in ONE_DEEP:
        yield name, values
        if name in ("run ends", "decimal of 90 digits"):
            continue
        offsets = pa.array([0, 1, 1, len(values)], pa.int32())
        yield f"list of {name}", pa.ListArray.from_arrays(offsets, values)
        yield f"object with {name}", pa.StructArray.from_arrays([values], names=["inner"])
    deep = pa.array([1, None, 2])
    for _ in range(101):
        deep = pa.StructArray.from_arrays([deep], names=["d"])
    yield "101 objects deep", deep
