"""Folders that are tables of their own: Delta, Iceberg, Hudi. A log says which of their files and rows are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Final

from orchestrator.domain.errors import DatasetError

TABLE_MARKS: Final[dict[str, Callable[[PurePosixPath], bool]]] = {
    "Delta": lambda name: name.name == "_delta_log",
    "Hudi": lambda name: name.name == ".hoodie",
    "Iceberg": lambda name: name.parent.name == "metadata" and name.name.endswith(".metadata.json"),
}
TABLE_ADVICE: Final = {
    "Delta": "deltalake.DeltaTable(folder).scan() can be given to orchestrator.run as it is; or give its own folder",
    "Hudi": "by Spark, as in spark.read.format('hudi').load(folder).write.parquet(other)",
    "Iceberg": "the table of pyiceberg's table.scan().to_arrow() can be given to orchestrator.run as it is",
}


def refuse_table(location: str, names: Sequence[PurePosixPath]) -> None:
    """Raise DatasetError for the folder of a table format: it also has files of rows that were deleted or replaced."""
    for name in names:
        for kind, is_mark in TABLE_MARKS.items():
            if is_mark(name):
                raise DatasetError(
                    f"{location} is a {kind} table, of which plain reading would take deleted rows too. "
                    f"Write its rows to Parquet first: {TABLE_ADVICE[kind]}"
                )
