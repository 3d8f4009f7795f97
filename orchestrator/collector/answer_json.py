"""Reads the JSON object that an answer is: out of a code fence or the words around it, where there is no doubt.

Rule 1: a fence or words are peeled off only where the text holds exactly one JSON object, whole and not inside another
    value. Two objects, or a brace that begins no object, are in doubt: then there is none.
Rule 2: what readers of JSON understand differently is none: a name twice in an object, NaN, a lone surrogate, a number
    that no float holds, more than 1,024 levels.
Rule 3: no text raises an exception; a message repeats none of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

_THOUGHT: Final = re.compile(r"\s*<think>.*?</think>", re.DOTALL)  # a reasoning model's, as some servers leave it in
_SPACE: Final = " \t\r\n\ufeff"


class NoJson(ValueError):
    """An answer that is not one JSON value; the message says why."""


def read_json(text: str) -> Any:
    """Return the JSON value of an answer: an object, or whatever else the whole text is. Raises NoJson."""
    try:
        found = orjson.loads(text)
    except ValueError:
        found = None
    if found is None:
        text = peeled(text)
        try:
            found = orjson.loads(text)
        except ValueError as error:
            raise NoJson(_why(text, error)) from None
    if text.count(":") != _name_count(found) and _has_names_twice(text):
        raise NoJson("a name stands twice in an object")
    return found


def peeled(text: str) -> str:
    """Return the one JSON object in a text, without a fence and words around it; the text itself where in doubt."""
    stripped = _THOUGHT.sub("", text, count=1).strip(_SPACE)
    if stripped[:1] in ("{", "["):
        first, _ = _object_at(stripped, 0)
        return stripped if first is None or "{" in stripped[len(first) :] else first
    start = stripped.find("{")
    found, end = _object_at(stripped, start) if start >= 0 else (None, 0)
    if found is None or "{" in stripped[end:] or "[" in stripped[:start]:
        return stripped
    return found


def _object_at(text: str, start: int) -> tuple[str | None, int]:
    """Return the text of the object that begins at `start`, and where it ends; None where none does."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start
    return (text[start:end], end) if isinstance(value, dict) else (None, start)


def _why(text: str, error: ValueError) -> str:
    if not text.strip(_SPACE):
        return "the answer is empty"
    if "{" not in text:
        return "the answer holds no JSON object"
    place = getattr(error, "pos", None)
    reason = getattr(error, "msg", "") or "it cannot be read"
    # Only words of the parser: those with a quote in them may repeat the text.
    shown = reason if re.fullmatch(r"[A-Za-z ,]{1,80}", reason) else "it cannot be read"
    return f"the answer is no JSON: {shown}" + ("" if place is None else f" at character {place + 1:,}")


def _name_count(value: Any) -> int:
    """Return how many names the objects in a value have: each has a colon of its own in the text."""
    count, ahead = 0, [value]
    while ahead:
        one = ahead.pop()
        if type(one) is dict:
            count += len(one)
            one = one.values()
        elif type(one) is not list:
            continue
        ahead += [inner for inner in one if type(inner) is dict or type(inner) is list]
    return count


def _has_names_twice(text: str) -> bool:
    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise NoJson
        return found

    try:
        json.loads(text, object_pairs_hook=check)
    except NoJson:
        return True
    except (ValueError, RecursionError):  # deeper than this reader goes: nothing shows that it is sound
        return True
    return False


def shown_path(path: Iterator[str | int] | list[str | int]) -> str:
    """Return a place in an answer: `$.address.street`, `$.tags[0]`."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
