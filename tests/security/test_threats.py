"""docs/threats.md against the tests: every threat has its row, and every test that a row names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final

import pytest

from tests.deploy.files import ROOT

PAGE: Final = ROOT / "docs" / "threats.md"
NUMBERS: Final = [f"S{number}" for number in range(1, 23)]
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table, by its number. Raises ValueError for a number that stands twice."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| S"):
            number, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            if number in found:
                raise ValueError(f"{number} stands twice")
            found[number] = cells
    return found


@cache
def known_tests(path: str) -> frozenset[str]:
    """Return the names of a module's tests; none where there is no such file."""
    file = ROOT / path
    if not file.exists():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def complaints(text: str) -> list[str]:
    found = rows(text)
    wrong = [f"{number} is missing" for number in NUMBERS if number not in found]
    for number, cells in found.items():
        if len(cells) != 3 or not all(cells):
            wrong.append(f"{number} lacks a cell")
            continue
        named = TEST.findall(cells[2])
        if not named:
            wrong.append(f"{number} names no test")
        wrong += [f"{number}: {path}::{name} does not exist" for path, name in named if name not in known_tests(path)]
    return wrong


def test_every_threat_has_a_row_and_every_named_test_exists() -> None:
    assert complaints(PAGE.read_text(encoding="utf-8")) == []
    assert list(rows(PAGE.read_text(encoding="utf-8"))) == NUMBERS


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("| S7 |", "| T7 |", "S7 is missing"),
        ("::test_no_bomb_bursts", "::test_no_bomb_burst", "does not exist"),
        ("tests/security/test_tls.py::", "tests/security/test_ssl.py::", "does not exist"),
    ],
)
def test_a_page_that_is_out_of_date_is_found_out(old: str, new: str, words: str) -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert old in text
    assert any(words in complaint for complaint in complaints(text.replace(old, new)))


def test_every_row_says_something_of_its_own() -> None:
    """A row that does not apply says so, and why."""
    controls = [cells[1] for cells in rows(PAGE.read_text(encoding="utf-8")).values()]

    assert len(set(controls)) == len(NUMBERS)
    assert all(len(control) > 40 for control in controls)
