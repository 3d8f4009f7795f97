"""Earlier versions of the program, taken from the history and imported under names of their own.

Rule: what runs is the code of that commit, whole: its rules, steps and statements. Only the name of its package is
another, so that both can be had in one process.
"""

from __future__ import annotations

import atexit
import importlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from orchestrator.ledger.migrations import MIGRATIONS

ROOT: Final = Path(__file__).parents[2]
NEWEST: Final = len(MIGRATIONS)
IMPORT: Final = re.compile(r"^(\s*)(from|import) orchestrator\b", re.MULTILINE)
# The last commit of each schema that the simulation can run; whoever adds a migration adds the commit before it.
LAST_COMMITS: Final = {
    2: "ad26c4fcf15c49ca1db14988264d0ffbdd6ce2b1",
    3: "5840d127363cbc01721ce4f18e1daebb1b752fc0",
    4: "16098a89c39139e33355ae31816e17f3ec956967",
}


class NoHistory(Exception):
    """The commit is not here: a shallow clone, or a tree without its history."""


@dataclass(frozen=True, slots=True)
class Version:
    """A program that can be run; `package` is the name under which it is imported."""

    package: str
    schema: int

    def module(self, name: str) -> ModuleType:
        """Return one of its modules: `domain.model`."""
        return importlib.import_module(f"{self.package}.{name}")

    def made(self, home: str, name: str, /, **values: Any) -> Any:
        """Make one of its values, of the fields it knows."""
        kind = getattr(self.module(home), name)
        return kind(**{key: value for key, value in values.items() if key in kind.__dataclass_fields__})


def version_of(schema: int) -> Version:
    """Return the last version of a schema. Raises NoHistory."""
    return _loaded(LAST_COMMITS[schema], f"orchestrator_of_schema_{schema}", schema)


def kept(schema: int) -> Version:
    """Return the last version of a schema, in a test; where its commit is not to be had, the test is skipped."""
    try:
        return version_of(schema)
    except NoHistory as error:
        pytest.skip(str(error))


def present_again() -> Version:
    """Return the present program, under a second name: what needs no history."""
    return _loaded("", "orchestrator_again", NEWEST)


@cache
def _loaded(commit: str, package: str, schema: int) -> Version:
    home = Path(tempfile.mkdtemp(prefix="upgrade-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if commit:
        _take_out(commit, home)
    else:
        shutil.copytree(ROOT / "orchestrator", home / "orchestrator", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "orchestrator").rename(home / package)
    for path in (home / package).rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        path.write_text(IMPORT.sub(rf"\1\2 {package}", source), encoding="utf-8")
    sys.path.append(str(home))
    importlib.invalidate_caches()
    return Version(package, schema)


def _take_out(commit: str, home: Path) -> None:
    command = ["git", "-C", str(ROOT), "archive", "--format=zip", commit, "orchestrator"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise NoHistory("there is no git") from None
    if done.returncode:
        raise NoHistory(f"commit {commit[:12]} is not here: git fetch --unshallow")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:  # tarfile's filters are not in every Python 3.11
        archive.extractall(home)
