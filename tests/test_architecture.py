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


def test_parquet_files_are_read_in_a_thread_that_is_said_to_be_ours_or_pyarrows() -> None:
    """One of pyarrow's that still holds a file of Python's when Python ends can abort the process: decision 0044."""
    calls = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in trees().items()
        if "pyarrow.parquet" in sources()[name] or "result_parts" in sources()[name]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"iter_batches", "read_row_group", "read_table"}
        and ast.unparse(node.func.value) not in {"self", "result"}  # ours: `Result.iter_batches`
    ]

    assert len(calls) > 5
    assert [call for call in calls if "use_threads=" not in call] == []


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
