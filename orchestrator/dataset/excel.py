"""One sheet of a workbook (Excel, OpenDocument) as a table.

Rule 1: the first row has the names of the columns; rows without any value are skipped.
Rule 2: a column is of one type: numbers that are all whole are integers, a column of several kinds is text. An empty
        cell is a null.
"""

from __future__ import annotations

import datetime as dt
import io
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa

from orchestrator.dataset.files import open_stream, source_file, translated
from orchestrator.dataset.schema import by_likeness, refuse_duplicates
from orchestrator.domain.errors import ConfigError, DatasetError

SUFFIXES: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
INTEGER_END: Final = 2**63


def is_workbook(location: str) -> bool:
    """Return whether a file is named as a workbook."""
    return PurePosixPath(location).suffix.lower() in SUFFIXES


def read_sheet(location: str, sheet: str) -> pa.Table:
    """Return a sheet; "" is the only one that is not hidden. Raises ConfigError, DatasetError."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum
    except ModuleNotFoundError:
        raise ConfigError(
            f"{location} is a workbook, which needs one package more: pip install 'batch-orchestrator[excel]'"
        ) from None
    file = source_file(location)
    with translated(f"{location} cannot be read"), open_stream(file) as source:
        content = source.read()
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        names = [one.name for one in workbook.sheets_metadata if one.visible == SheetVisibleEnum.Visible]
        rows = workbook.get_sheet_by_name(_chosen(location, sheet, names, workbook.sheet_names)).to_python()
    except CalamineError as error:
        # from None: the library's message may quote a cell.
        kind = type(error).__name__
        what = "it has a password: save it without one" if kind == "PasswordError" else f"it is damaged ({kind})"
        raise DatasetError(f"{location} cannot be read as a workbook: {what}, or save the sheet as CSV") from None
    return _table(f"{location}", rows)


def _chosen(location: str, sheet: str, visible: list[str], names: list[str]) -> str:
    listed = ", ".join(map(repr, by_likeness(sheet, names) if sheet else visible))
    if sheet and sheet not in names:
        raise DatasetError(f"{location} has no sheet {sheet!r}; its sheets: {listed}")
    if not sheet and len(visible) != 1:
        raise DatasetError(f"{location} has more than one sheet ({listed}): set sheet = {visible[0]!r} under [dataset]")
    return sheet or visible[0]


def _table(where: str, rows: list[list[Any]]) -> pa.Table:
    rows = [row for row in rows if any(cell != "" for cell in row)]
    if not rows:
        raise DatasetError(f"{where}: the sheet is empty; its first row must have the names of the columns")
    header, *rest = rows
    columns: dict[str, Any] = {}
    names = []
    for number, name in enumerate(header):
        values = [row[number] for row in rest]
        if name == "" and any(value != "" for value in values):
            raise DatasetError(f"{where}: column {number + 1} has no name in the first row")
        if name != "":
            names.append(_text(name))
            columns[names[-1]] = _column(values)
    refuse_duplicates(where, names)
    return pa.table(columns)


def _column(values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value != ""}
    if kinds <= {int, float}:
        is_whole = all(float(value).is_integer() and abs(value) < INTEGER_END for value in values if value != "")
        kind = pa.int64() if is_whole and kinds else pa.float64() if kinds else pa.string()
        return pa.array([None if value == "" else int(value) if is_whole else value for value in values], kind)
    if kinds == {dt.date, dt.datetime}:
        values = [dt.datetime.combine(value, dt.time()) if type(value) is dt.date else value for value in values]
        kinds = {dt.datetime}
    if len(kinds) > 1:
        values, kinds = ["" if value == "" else _text(value) for value in values], {str}
    return pa.array([None if value == "" else value for value in values], pa.string() if kinds == {str} else None)


def _text(value: Any) -> str:
    """Return a cell's value as text: 2024, not 2024.0."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)
