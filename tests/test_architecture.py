"""What neither import-linter (`.importlinter`) nor ruff can say of the sources: sizes, and a domain without a clock."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
MODULE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 50
CLOCK_AND_FILES: Final = frozenset({"now", "utcnow", "today", "open", "input"})


@cache
def sources() -> dict[str, str]:
    """Return the text of each of our modules."""
    paths = sorted(path for package in ("orchestrator", "workers") for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@cache
def trees() -> dict[str, ast.Module]:
    """Return them parsed."""
    return {name: ast.parse(text) for name, text in sources().items()}


def test_modules_have_at_most_400_lines() -> None:
    counts = {name: len(text.splitlines()) for name, text in sources().items()}

    assert len(counts) > 100  # the sources were found
    assert {name: count for name, count in counts.items() if count > MODULE_LINES_MAX} == {}


def test_functions_have_at_most_50_lines() -> None:
    """Their docstrings do not count."""
    too_long = {}
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) is not None else 0)
                if count > FUNCTION_LINES_MAX:
                    too_long[f"{name}: {node.name}"] = count

    assert too_long == {}


def test_the_domain_asks_for_no_time_and_opens_no_file() -> None:
    """Its imports are held by import-linter; `datetime.now` and `open` need none of them."""
    calls = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in trees().items()
        if name.startswith("orchestrator/domain/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) in CLOCK_AND_FILES
    ]

    assert calls == []


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
