"""Tracebacks of what a caller got wrong: the caller's own lines, and not the inside of this package."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from orchestrator.domain.errors import CommandRefused, ConfigError, DatasetError

P = ParamSpec("P")
R = TypeVar("R")


def short_traceback(function: Callable[P, R]) -> Callable[P, R]:
    """Raise the errors of `function` that name a mistake of its caller without the frames and causes below it."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (ConfigError, DatasetError, CommandRefused) as error:
            raise error.with_traceback(None) from None

    return called
