"""Why rows have failed: how many by each error code, with one row as an example.

Rule: a chunk and a shard keep theirs as a short text in the ledger, so that a job's are summed without reading its
files. An error code that a provider gives is free text: one that is no plain word is counted as `other`, and so are
those beyond `CODES_MAX`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

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

    _found: dict[str, Cause] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> Causes:
        """Return what `text` wrote."""
        causes = cls()
        if text:
            causes.add_all(Cause(code, *numbers) for code, numbers in json.loads(text).items())
        return causes

    def add(self, code: str | None, key: tuple[int, int]) -> None:
        """Count a row, by its shard and its number there."""
        self.add_all([Cause(code or OTHER, 1, *key)])

    def add_all(self, causes: Iterable[Cause]) -> None:
        """Count the rows of other causes; the first example of each code is kept."""
        for cause in causes:
            code = cause.code if _PLAIN.fullmatch(cause.code) else OTHER
            if code not in self._found and len(self._found) >= CODES_MAX:
                code = OTHER
            first = self._found.get(code)
            if first is None:
                self._found[code] = Cause(code, cause.rows, cause.shard, cause.row)
            else:
                self._found[code] = Cause(code, first.rows + cause.rows, first.shard, first.row)

    def text(self) -> str:
        """Return the causes as a column of the ledger keeps them; "" for none."""
        if not self._found:
            return ""
        return json.dumps({one.code: [one.rows, one.shard, one.row] for one in self._found.values()})

    def by_rows(self) -> tuple[Cause, ...]:
        """Return the causes, that of the most rows first."""
        return tuple(sorted(self._found.values(), key=lambda one: (-one.rows, one.code)))
