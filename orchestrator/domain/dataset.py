"""How a dataset is cut before its rows are read: files, segments of files, shards of segments.

Rule 1: a shard is fixed by file metadata and the spec alone; its number never changes afterwards.
Rule 2: a row is identified by (shard_no, row): its 0-based position in the shard, in source order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of one file that belongs to one shard."""

    file: str  # relative to the dataset's root, with forward slashes
    groups: tuple[int, int] | None  # row groups (Parquet) or record batches (Arrow) [first, end); None: the whole file
    row_count: int | None  # None where the file must be read to know it (CSV, JSONL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSpec:
    """A run of consecutive segments: the unit of planning and of finishing."""

    shard_no: int
    segments: tuple[Segment, ...]

    @property
    def row_count(self) -> int | None:
        """Rows in the shard, or None where a segment's count is not known."""
        counts = [segment.row_count for segment in self.segments]
        return None if None in counts else sum(count for count in counts if count is not None)
