"""The catalogue of failures against the tests: each row has its proof, each proof exists, and no row is missing.

Rule 1: the ids are written here by hand; a row that is taken out of the page is missed.
Rule 2: a test is looked for in the source of its file. It is not run here, and need not be importable.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "failures.md"
COUNTS: Final = {"P": 11, "U": 5, "C": 16, "O": 7, "D": 8, "A": 9, "M": 9, "R": 3, "X": 3, "K": 3, "B": 12}
IDS: Final = tuple(f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1))
HEAD: Final = ("id", "what happens", "what we do", "tests")
TEST: Final = re.compile(r"`([^`]+\.py::[^`]+)`")
MUTANT: Final = re.compile(r"`mutant: ([^`]+)`")
MUTANTS: Final = ROOT / "tests" / "simulation" / "mutants.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the page."""

    id: str
    happens: str
    does: str
    tests: tuple[str, ...]
    mutants: tuple[str, ...]


def read_rows(text: str) -> list[Row]:
    """Return the rows of all tables that have the catalogue's head."""
    found, is_ours = list[Row](), False
    for line in text.splitlines():
        if not line.startswith("|"):
            is_ours = False
            continue
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if cells == HEAD:
            is_ours = True
        elif is_ours and not set(line) <= set("|- "):
            assert len(cells) == len(HEAD), f"not {len(HEAD)} cells: {line}"
            tests, mutants = tuple(TEST.findall(cells[3])), tuple(MUTANT.findall(cells[3]))
            found.append(Row(id=cells[0], happens=cells[1], does=cells[2], tests=tests, mutants=mutants))
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests of a file, those of a class with the class before them."""
    if not path.is_file():
        return frozenset()
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):  # a state machine of Hypothesis: `TestLedger = X.TestCase`
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names.add(ast.unparse(target))
    return frozenset(name for name in names if name.rpartition("::")[2].lower().startswith("test"))


@cache
def mutants_known() -> frozenset[str]:
    """Return every text in the table of broken protocols, their names among them."""
    tree = ast.parse(MUTANTS.read_text(encoding="utf-8"))
    return frozenset(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str
    )


def complaints(rows: list[Row], root: Path = ROOT) -> list[str]:
    """Return what is wrong with the rows."""
    found = []
    given = [row.id for row in rows]
    found += [f"{missing} is missing" for missing in IDS if missing not in given]
    found += [f"{row_id} is no id, or stands twice" for row_id in given if row_id not in IDS or given.count(row_id) > 1]
    for row in rows:
        if not (row.happens and row.does):
            found.append(f"{row.id} says nothing")
        if not row.tests:
            found.append(f"{row.id} has no test")
        for test in row.tests:
            path, _, name = test.partition("::")
            if name not in names_in(root / path):
                found.append(f"{row.id}: there is no {test}")
        found += [f"{row.id}: there is no mutant {name!r}" for name in row.mutants if name not in mutants_known()]
    return found


def test_every_failure_has_a_test_that_exists() -> None:
    assert complaints(read_rows(PAGE.read_text(encoding="utf-8"))) == []


def test_there_are_eighty_six_failures() -> None:
    assert len(IDS) == 86


PROOF: Final = "`tests/test_failures.py::test_there_are_eighty_six_failures`"
WHOLE: Final = "\n".join(
    [
        "| id | what happens | what we do | tests |",
        "| --- | --- | --- | --- |",
        *(f"| {row_id} | this | that | {PROOF} |" for row_id in IDS),
    ]
)


def test_a_page_that_is_whole_has_no_fault() -> None:
    assert complaints(read_rows(WHOLE)) == []


@pytest.mark.parametrize(
    ("written", "instead", "complaint"),
    [
        (f"| P1 | this | that | {PROOF} |\n", "", "P1 is missing"),
        (f"| P1 | this | that | {PROOF} |", "| P1 | this | that | |", "P1 has no test"),
        (f"| P1 | this | that | {PROOF} |", "| P1 | this | that | soon |", "P1 has no test"),
        (f"| P1 | this | that | {PROOF} |", f"| P1 | | that | {PROOF} |", "P1 says nothing"),
        (
            f"| P1 | this | that | {PROOF} |",
            "| P1 | this | that | `tests/test_failures.py::test_that_is_not_there` |",
            "P1: there is no tests/test_failures.py::test_that_is_not_there",
        ),
        (
            f"| P1 | this | that | {PROOF} |",
            "| P1 | this | that | `tests/test_nowhere.py::test_at_all` |",
            "P1: there is no tests/test_nowhere.py::test_at_all",
        ),
        (
            f"| P1 | this | that | {PROOF} |",
            f"| P1 | this | that | {PROOF}, `mutant: nobody` |",
            "P1: there is no mutant 'nobody'",
        ),
        (f"| P1 | this | that | {PROOF} |", "| P1 | this | that | `mutant: no fence` |", "P1 has no test"),
        (f"| P1 | this | that | {PROOF} |", f"| Q1 | this | that | {PROOF} |", "P1 is missing"),
        (f"| P1 | this | that | {PROOF} |", f"| Q1 | this | that | {PROOF} |", "Q1 is no id, or stands twice"),
        (f"| P2 | this | that | {PROOF} |", f"| P1 | this | that | {PROOF} |", "P1 is no id, or stands twice"),
    ],
)
def test_each_fault_of_a_page_is_seen(written: str, instead: str, complaint: str) -> None:
    assert WHOLE.count(written) == 1
    assert complaint in complaints(read_rows(WHOLE.replace(written, instead)))
