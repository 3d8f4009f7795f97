"""What a check before a run found: for `orchestrator doctor`, and for the checks before a job's first create."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

WRONG_INPUT = 2  # exit codes of an error: something to change in a file, a variable or a command
NEEDS_PERSON = 3  # something else stands in the way: an account, a server, a disk


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at, what was found, and what to do about it."""

    name: str
    found: str
    level: Level = Level.OK  # "ok", "warning" or "error"
    todo: str = ""  # what to do about it
    code: int = WRONG_INPUT  # the exit code, of an error

    @property
    def message(self) -> str:
        """What was found and what to do, as one text."""
        return f"{self.found}. {self.todo}" if self.todo else self.found

    def as_dict(self) -> dict[str, str]:
        """Return what `--json` prints."""
        return {"check": self.name, "level": self.level.value, "found": self.found, "todo": self.todo}


def exit_code(checks: Iterable[Check]) -> int:
    """Return 0, or the highest code of an error."""
    return max((check.code for check in checks if check.level is Level.ERROR), default=0)
