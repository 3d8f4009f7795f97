"""Packages that tests import when they first use them: some take a second, and each process of a test run collects."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazily:
    """A package.

    openai = Lazily("openai")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__version__":  # pytest asks every name of a module for its marks
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
