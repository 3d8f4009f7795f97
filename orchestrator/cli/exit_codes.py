"""The exit codes of the command line."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1  # an error that is nobody's mistake
WRONG: Final = 2  # a setting, a job file or an argument
WAITING: Final = 3  # for a person, or for a result that is not there yet
FAILED_ROWS: Final = 4  # the job has ended, and some rows have failed
INTERRUPTED: Final = 130  # running the command again resumes
