"""Why rows have failed: how many by each error code, with one row as an example.

Rule: a chunk and a shard keep theirs as a short text in the ledger, so that a job's are summed without reading its
files. An error code that a provider gives is free text: one that is no plain word is counted as `other`, and so are
those beyond `CODES_MAX`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.reconcile import UNREADABLE

CODES_MAX: Final = 40  # of one chunk or shard
OTHER: Final = "other"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


@dataclass(frozen=True, slots=True)
class Cause:
    """Rows that have failed with one error code, and the first of them."""

    code: str
    rows: int
    shard: int | None = None  # of the example; None where none is known
    row: int | None = None  # within the shard, from 0


@dataclass(slots=True)
class Causes:
    """The failed rows of a unit, by error code."""

    _found: dict[str, list[int | None]] = field(default_factory=dict)  # rows, and shard and row of the first of them

    @classmethod
    def of(cls, text: str) -> Causes:
        """Return what `text` wrote."""
        causes = cls()
        causes.add_text(text)
        return causes

    def add(self, code: str | None, key: tuple[int, int]) -> None:
        """Count a row, by its shard and its number there."""
        self._add(code if code and is_plain(code) else OTHER, 1, *key)

    def add_unit(self, code: str, rows: int) -> None:
        """Count all rows of a unit that has failed with one code."""
        self._add(code if is_plain(code) else OTHER, rows, None, None)

    def add_text(self, text: str) -> None:
        """Count the rows of another unit's text; the first example of each code is kept."""
        if text:
            for code, (rows, shard, row) in json.loads(text).items():
                self._add(code, rows, shard, row)

    def add_texts(self, texts: Iterable[str]) -> None:
        """Count the rows of many other units' texts: read at once, as a job may have tens of thousands."""
        for found in json.loads(f"[{','.join(filter(None, texts))}]"):
            for code, (rows, shard, row) in found.items():
                self._add(code, rows, shard, row)

    def text(self) -> str:
        """Return the causes as a column of the ledger keeps them; "" for none."""
        return json.dumps(self._found) if self._found else ""

    def by_rows(self) -> tuple[Cause, ...]:
        """Return the causes, that of the most rows first."""
        found = (Cause(code, rows or 0, shard, row) for code, (rows, shard, row) in self._found.items())
        return tuple(sorted(found, key=lambda one: (-one.rows, one.code)))

    def _add(self, code: str, rows: int, shard: int | None, row: int | None) -> None:
        if code not in self._found and len(self._found) >= CODES_MAX:
            code = OTHER
        known = self._found.get(code)
        if known is None:
            self._found[code] = [rows, shard, row]
        else:
            known[0] = (known[0] or 0) + rows


def is_plain(code: str | None) -> bool:
    """Return whether rows are counted by this error code; else they are among the others."""
    return code is not None and _PLAIN.fullmatch(code) is not None


def causes_less(text: str, codes: Mapping[str, int]) -> str:
    """Return the causes of a chunk's failed rows without so many rows of these error codes."""
    if not text or not codes:
        return text
    found: dict[str, list[int | None]] = json.loads(text)
    for code, rows in codes.items():
        name = code if code in found else OTHER
        if name in found:
            found[name][0] = (found[name][0] or 0) - rows
    left = {name: cause for name, cause in found.items() if (cause[0] or 0) > 0}
    return json.dumps(left) if left else ""


def causes_more(text: str, failed: Mapping[tuple[int, int], str]) -> str:
    """Return the causes of a chunk together with those of these rows, which have failed with these codes."""
    causes = Causes.of(text)
    for key, code in failed.items():
        causes.add(code, key)
    return causes.text()


def causes_left(text: str, failed: int, unreadable: int) -> str:
    """Return the causes of a chunk's failed rows once others of `text` are sent again.

    Args:
        failed: how many are left.
        unreadable: how many of these have an answer that cannot be read: they are the last that are sent again.
    """
    if not failed:
        return ""
    if failed > unreadable:
        return text
    example = json.loads(text or "{}").get(UNREADABLE, [0, None, None])
    return json.dumps({UNREADABLE: [unreadable, *example[1:]]})
