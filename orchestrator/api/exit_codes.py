"""The exit codes of the command line, and which error has which: programs get them with the error, too."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.errors import (
    CommandRefused,
    ConfigError,
    DatasetError,
    JobInterrupted,
    JobNotFinished,
    OrchestratorError,
)

DONE: Final = 0
FAILED: Final = 1  # an error that is nobody's mistake
WRONG: Final = 2  # a setting, a job file or an argument
WAITING: Final = 3  # for a person, or for a result that is not there yet
FAILED_ROWS: Final = 4  # the job has ended, and some rows have failed
INTERRUPTED: Final = 130  # running the command again resumes
CLOSED_PIPE: Final = 141  # nobody reads what it prints; the code of a program that SIGPIPE has ended


def exit_code_of(error: OrchestratorError) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, ConfigError | DatasetError | CommandRefused):
        return WRONG
    if isinstance(error, JobNotFinished):
        return INTERRUPTED if isinstance(error, JobInterrupted) else WAITING
    return FAILED
