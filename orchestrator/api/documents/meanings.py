"""What each field of a class means: said behind the field, in its source, and nowhere else.

Schemas and the pages of docs/ take it from here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap


def field_meanings(found: type) -> dict[str, str]:
    """Return what is said about each own field: the text under it, else the comment behind it, else ""."""
    text = textwrap.dedent(inspect.getsource(found))
    lines = text.splitlines()
    body = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)).body
    meanings = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            said = inspect.cleandoc(after.value.value)
        else:
            said = lines[(node.end_lineno or node.lineno) - 1].partition("  # ")[2]
        meanings[node.target.id] = said
    return meanings
