"""A text that matches a regular expression of the plain kind: literals, classes, repetitions, groups, choices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

REPEATS_MAX: Final = 64
_CATEGORIES: Final = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}


def text_matching(pattern: str) -> str:
    """Return a text that the pattern finds something in; empty where the pattern is of another kind."""
    try:
        text = "".join(_texts(parser.parse(pattern)))
        return text if re.search(pattern, text) else ""
    except (re.error, ValueError, RecursionError, OverflowError):
        return ""


def _texts(parsed: Any) -> Iterator[str]:
    for code, given in parsed:
        match str(code):
            case "LITERAL":
                yield chr(given)
            case "ANY" | "NOT_LITERAL":
                yield "a" if given != ord("a") else "b"
            case "IN":
                yield _one_of(given)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                low, _, inner = given
                yield "".join(_texts(inner)) * min(low, REPEATS_MAX)
            case "SUBPATTERN":
                yield from _texts(given[3])
            case "BRANCH":
                yield from _texts(given[1][0])
            case "AT":
                continue
            case _:
                raise ValueError("a pattern of another kind")


def _one_of(options: Any) -> str:
    """Return a character of a class."""
    code, given = options[0]
    if str(code) == "NEGATE":
        refused = {value for kind, value in options[1:] if str(kind) == "LITERAL"}
        return next((each for each in "a0 -_." if ord(each) not in refused), "~")
    if str(code) == "RANGE":
        return chr(given[0])
    if str(code) == "CATEGORY":
        return _CATEGORIES.get(str(given), "-")
    return chr(given)
