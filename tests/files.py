"""A table as the bytes of a file, in each format that a dataset may have.

FORMATS["csv.gz"](table)
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import zstandard

GROUP_ROWS: Final = 4_000  # several groups, so that shards have borders to fall on


def as_parquet(table: pa.Table) -> bytes:
    """Return the table as a Parquet file of several row groups."""
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=GROUP_ROWS)
    return sink.getvalue()


def as_arrow(table: pa.Table) -> bytes:
    """Return the table as an Arrow IPC file of several batches."""
    sink = io.BytesIO()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=GROUP_ROWS)
    return sink.getvalue()


def as_csv(table: pa.Table) -> bytes:
    """Return the table as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, table.column_names)
    writer.writeheader()
    writer.writerows(table.to_pylist())
    return text.getvalue().encode()


def as_jsonl(table: pa.Table) -> bytes:
    """Return the table as one JSON object a line."""
    return "".join(f"{json.dumps(row)}\n" for row in table.to_pylist()).encode()


FORMATS: Final[dict[str, Callable[[pa.Table], bytes]]] = {
    "parquet": as_parquet,
    "arrow": as_arrow,
    "csv": as_csv,
    "csv.gz": lambda table: gzip.compress(as_csv(table)),
    "jsonl": as_jsonl,
    "jsonl.gz": lambda table: gzip.compress(as_jsonl(table)),
    "jsonl.zst": lambda table: zstandard.compress(as_jsonl(table)),
}
