"""One result file while it is written: its line ends, its marks, its cut end.

Rule: a file gets its name once it is whole and durable, and none if nobody keeps it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from orchestrator.gateway.damage import BOM, cut_file
from orchestrator.gateway.store import put_in_place

CUTS: Final = frozenset({"cut_last", "cut_in_character"})


class ResultFile:
    """Takes lines, and remembers where the last one starts and whose it is."""

    def __init__(self, path: Path, faults: AbstractSet[str]) -> None:
        self.path = path
        self.row_of_last: int | None = None  # index into the tally's items, if the last line is a row's only one
        self._temporary = path.with_suffix(".partial")
        self._faults = faults
        self._end = b"\r\n" if "crlf" in faults else b"\n"
        self._last_line_at: int | None = None
        self._file = self._temporary.open("wb")
        if "bom" in faults:
            self._file.write(BOM)

    def write(self, lines: list[bytes], row: int | None = None) -> None:
        """Write what stands for one row."""
        for line in lines:
            if line:
                self._last_line_at = self._file.tell()
            self._file.write(line + self._end)
        if lines:
            self.row_of_last = row if sum(map(bool, lines)) == 1 else None

    def finish(self, *, is_kept: bool) -> int | None:
        """Close the file and put it in place, or drop it; return the row that lost its line to a cut."""
        self._file.close()
        if not is_kept:
            self._temporary.unlink()
            return None
        is_cut = bool(CUTS & self._faults) and self._last_line_at is not None
        if is_cut:
            assert self._last_line_at is not None
            cut_file(self._temporary, self._last_line_at, in_character="cut_in_character" in self._faults)
        put_in_place(self._temporary, self.path)
        return self.row_of_last if is_cut else None
