"""What can be broken in a module, one place at a time: every mutant is the module's source with one piece replaced.

Rule 1: left alone are docstrings, annotations, decorators, asserts (they state our own mistakes), names of types, and
        words for people, which are strings with a space in them.
Rule 2: a mutant is known by where it stands and what it replaces, not by a line number, so that a list of them
        outlives changes elsewhere in the file.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES_OF_TYPES: Final = frozenset({"NewType", "TypeVar"})
ENTRIES_MIN: Final = 2  # a table with fewer entries is no table


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A module with one thing wrong with it."""

    path: str  # of the module, from the root of the tree
    place: str  # the function or class it stands in, dotted; "" for the module itself
    was: str
    now: str
    number: int  # among those of the same place that replace the same by the same, from 1
    line: int
    source: str  # of the whole module

    @property
    def name(self) -> str:
        """What it is known by."""
        number = f" #{self.number}" if self.number > 1 else ""
        return f"{self.path}:{self.place}: {_short(self.was)} -> {_short(self.now)}{number}"


def mutants(path: str, source: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    text, found, seen = source.encode(), list[Mutant](), Counter[tuple[str, str, str]]()
    for place, node, now, told in _replacements(ast.parse(source), ""):
        assert isinstance(node, ast.stmt | ast.expr | ast.pattern)
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        was, then = told or (text[begin:end].decode(), now)
        seen[place, was, then] += 1
        number, mutated = seen[place, was, then], (text[:begin] + now.encode() + text[end:]).decode()
        found.append(Mutant(path=path, place=place, was=was, now=then, number=number, line=node.lineno, source=mutated))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.name))


Broken = tuple[ast.AST, str, tuple[str, str] | None]  # what is replaced, by which source, and how to say it shorter


def _replacements(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST, str, tuple[str, str] | None]]:
    """Return where something is replaced, and how, for everything below a node."""
    for child in _children(node):
        inside = place
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = f"{place}.{child.name}".lstrip(".")
        for broken in _broken(child, is_inside=bool(place)):
            yield inside, *broken
        yield from _replacements(child, inside)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Return the parts of a node that may be broken (rule 1)."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Assert | ast.Import | ast.ImportFrom):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Call) and ast.unparse(child.func) in NAMES_OF_TYPES:
                continue
            if isinstance(child, ast.JoinedStr) or _is_union(child):
                continue
            yield child


def _is_union(node: ast.AST) -> bool:
    """Whether it is `A | B` of types: it stands alone, or in an isinstance."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.BitOr)
        and all(isinstance(side, ast.Name | ast.Attribute) or _is_union(side) for side in (node.left, node.right))
    )


def _broken(node: ast.AST, *, is_inside: bool) -> Iterator[Broken]:
    match node:
        case ast.Dict() | ast.Set():
            yield from _without_an_entry(node)
        case ast.Call(func=ast.Name(id="replace"), keywords=keywords):
            for number, keyword in enumerate(keywords):
                changed = copy.deepcopy(node)
                del changed.keywords[number]
                yield node, ast.unparse(changed), (ast.unparse(keyword), "left out")
        case ast.expr():
            yield from ((node, now, None) for now in _other_expressions(node))
        case ast.If(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):  # those are turned round anyway
            yield test, _expression(ast.UnaryOp(op=ast.Not(), operand=test)), None
        case ast.match_case(pattern=pattern, guard=None):
            yield pattern, f"{ast.unparse(pattern)} if False", (f"case {ast.unparse(pattern)}", "left out")
        case ast.match_case(guard=ast.expr() as guard):
            yield guard, "False", None
            yield guard, "True", None
        case ast.stmt():
            yield from ((node, now, None) for now in _other_statements(node, is_inside=is_inside))
        case _:
            return


def _other_expressions(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(ops=ops):
            for number, operator in enumerate(ops):
                for other in COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[number] = other()
                    yield _expression(changed)
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC:
            yield _expression(ast.BinOp(left=node.left, op=ARITHMETIC[type(operator)](), right=node.right))
        case ast.BoolOp(op=operator, values=values):
            swapped = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield _expression(ast.BoolOp(op=swapped, values=values))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield _expression(operand)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield _expression(ast.IfExp(test=test, body=orelse, orelse=body))
        case ast.Constant(value=value):
            yield from _other_constant(value)
        case _:
            return


def _other_constant(value: object) -> Iterator[str]:
    match value:
        case bool():
            yield repr(not value)
        case int():
            yield repr(value + 1)
        case float():
            yield repr(value * 2 + 1)
        case str() if " " not in value:
            yield repr(f"{value}*")
        case bytes():
            yield repr(value + b"*")
        case _:
            return


def _without_an_entry(node: ast.Dict | ast.Set) -> Iterator[Broken]:
    entries = node.keys if isinstance(node, ast.Dict) else node.elts
    for number, entry in enumerate(entries if len(entries) >= ENTRIES_MIN else ()):
        changed = copy.deepcopy(node)
        if isinstance(changed, ast.Dict):
            del changed.keys[number]
            del changed.values[number]
        else:
            del changed.elts[number]
        said = ast.unparse(entry) if entry is not None else f"** {number}"
        yield node, ast.unparse(changed), (f"entry {said}", "left out")


def _other_statements(node: ast.stmt, *, is_inside: bool) -> Iterator[str]:
    match node:
        case ast.Return(value=value) if value is not None and ast.unparse(value) != "None":
            yield "return None"
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() if is_inside:
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if is_inside:
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case _:
            return


def _expression(node: ast.expr) -> str:
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return f"`{words}`" if len(words) <= 120 else f"`{words[:80]} … {words[-36:]}`"
