"""An error as a document: what kind it is, what happened, and what can be typed."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.api.documents.upkeep import Error
from orchestrator.api.exit_codes import FAILED, exit_code_of
from orchestrator.domain.errors import OrchestratorError

UNEXPECTED: Final = "unexpected"  # a bug: the traceback is on standard error
USAGE: Final = "usage"  # the command line itself is wrong
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Commands stand alone on a line, or in backticks: see cli/terminal.py.
_TYPED: Final = r"(?:orchestrator|export|make) "
_COMMAND: Final = re.compile(rf"^\s*({_TYPED}.+?)\s*$|`({_TYPED}[^`]+)`", re.MULTILINE)


def code_of(error: OrchestratorError) -> str:
    """Return the kind of an error: `job_conflict` of JobConflict."""
    return _WORD.sub("_", type(error).__name__).lower()


def commands_in(message: str) -> tuple[str, ...]:
    """Return the commands that a message names, each once."""
    return tuple(dict.fromkeys(one or other for one, other in _COMMAND.findall(message)))


def of_error(error: OrchestratorError) -> Error:
    """Return an error for a program."""
    message = str(error)
    code = exit_code_of(error)
    return Error(exit_code=code, code=code_of(error), message=message, commands=commands_in(message))


def unexpected(error: Exception) -> Error:
    """Return a bug for a program: its type alone, because its message may quote a row."""
    return Error(exit_code=FAILED, code=UNEXPECTED, message=type(error).__name__, commands=())


def usage(message: str, exit_code: int) -> Error:
    """Return a mistake in a command line for a program."""
    return Error(exit_code=exit_code, code=USAGE, message=message, commands=commands_in(message))
