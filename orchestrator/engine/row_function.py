"""Imports a row function by its name, "package.module:function", so that any process with the module can render."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.errors import ConfigError

RowFunction = Callable[[dict[str, Any]], Mapping[str, Any]]
VERSION: Final = "version "  # before the user's own name for the version of a function
_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def imported_function(path: str) -> RowFunction:
    """Import and return the function. Raises ConfigError: malformed name, cannot be imported, not callable.

    The current folder is importable, as it is for `python -m`: an installed command does not have it on its path.
    """
    if _PATH.fullmatch(path) is None:
        raise ConfigError(f'request.render {path!r} is not of the form "package.module:function"')
    module_name, _, name = path.partition(":")
    if "" not in sys.path:
        make_importable(Path.cwd())
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - the user's module may raise anything while it is imported
        raise ConfigError(
            f"request.render {path!r}: the module {module_name} cannot be imported here ({type(error).__name__}: "
            f"{error}). Install its package, or start in the folder that holds it; a fleet's workers need it, too"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"request.render {path!r}: the module {module_name} has no {name}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"request.render {path!r} is a {type(found).__name__}, not a function")
    function: RowFunction = found
    return function


def make_importable(folder: Path) -> None:
    """Let modules in this folder be imported, after those that can be imported already."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def top_package(path: str) -> str:
    """Return the package that a function named by its path is in: it is the user's own, wherever it is installed."""
    return path.partition(":")[0].partition(".")[0]


def version_mark(version: str) -> str:
    """Return the identity of a function whose version the user names."""
    return f"{VERSION}{version}"


def is_version(mark: str) -> bool:
    """Whether the user has named the version of the function, so that its code does not count."""
    return mark.startswith(VERSION)
