"""Finds the id of the batch in the answer to a create, for all dialects.

Rule 1: an id is taken only where it is certain that it is the batch's: `batch_id`, or the `id` of an object that says
        that it is a batch or how its work stands; at the top or in an envelope, such as `{"code": 0, "data": {…}}`.
Rule 2: any other value that may be an id is a candidate for a person to choose from: an id is never thrown away.
Rule 3: the names of fields may be shown; values may quote a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.domain.model import BatchId, is_usable_id

CANDIDATES_MAX: Final = 12
NAMES_MAX: Final = 12
_DEPTH_MAX: Final = 6
_ENVELOPES: Final = ("batch", "job", "data", "result", "response", "output")
_MADE: Final = frozenset({"batch", "job"})  # what stands under these names is what was made
_STATUS_WORDS: Final = ("status", "processing_status", "task_status", "state")
_NO_BATCH: Final = frozenset({"error", "failure", "rejected", "refused", "invalid"})  # of the call, as its "status"
_OF_A_BATCH: Final = re.compile(r"(?:batch|msgbatch|batches)[_/-]")
_OURS: Final = frozenset({"custom_id"})
_ID_KEY: Final = re.compile(r"(?:.*[_-])?(?:id|uuid|uid|key|handle|token)|name|.*[a-z0-9]I[dD]", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def created_batch(content: object) -> BatchId | None:
    """Return the id of the batch that an answer says was made; None where that is not certain."""
    found = list(_objects(content, "", depth=0))
    for _, fields in found:
        if batch_id := _identifier(fields.get("batch_id")):
            return BatchId(batch_id)
    for is_certain in (_is_batch, _has_status):
        for name, fields in found:
            if (batch_id := _identifier(fields.get("id"))) and is_certain(name, fields, batch_id):
                return BatchId(batch_id)
    return None


def unwrapped(content: object) -> object:
    """Return the batch's object in the answer to a poll, out of its envelope; the answer itself where there is none."""
    if not isinstance(content, dict) or not {"id", "batch_id"}.isdisjoint(content):
        return content
    for name, fields in _objects(content, "", depth=0):
        if any(_identifier(fields.get(key)) for key in ("id", "batch_id")) and _status_words(fields):
            return content if name == "batch" and _status_words(content) else fields
    return content


def candidates(content: object) -> tuple[str, ...]:
    """Return all values of an answer that may be the id of a batch, the likeliest first."""
    found = dict.fromkeys(_candidates(content, (), depth=0))
    likely = sorted(found, key=lambda place: ("batch" not in "".join(place[0]).lower(), len(place[0])))
    return tuple(dict.fromkeys(value for _, value in likely))[:CANDIDATES_MAX]


def field_names(content: object) -> tuple[str, ...]:
    """Return the names of an answer's fields, those of an envelope's with the envelope's before them."""
    found = list[str]()
    for name, value in content.items() if isinstance(content, dict) else ():
        inner = value if isinstance(value, dict) else {}
        found += [f"{name}.{key}" for key in inner] or [str(name)]
    return tuple(name for name in found if _NAME.fullmatch(name))[:NAMES_MAX]


def _objects(content: object, name: str, *, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the answer's object and those in its envelopes, each with the name that it stands under."""
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict) or depth > _DEPTH_MAX:
        return
    yield name, content
    for key in _ENVELOPES:
        yield from _objects(content.get(key), key, depth=depth + 1)


def _identifier(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else value
    return text if isinstance(text, str) and is_usable_id(text) else ""


def _kind(fields: Mapping[str, Any]) -> str:
    kinds = (fields.get("object"), fields.get("type"))
    return next((kind.lower() for kind in kinds if isinstance(kind, str) and kind), "")


def _is_batch(name: str, fields: Mapping[str, Any], batch_id: str) -> bool:
    kind = _kind(fields)
    if kind:
        return "batch" in kind
    return name in _MADE or _OF_A_BATCH.match(batch_id) is not None


def _has_status(_name: str, fields: Mapping[str, Any], _batch_id: str) -> bool:
    words = _status_words(fields)
    return not _kind(fields) and bool(words) and _NO_BATCH.isdisjoint(words)


def _status_words(fields: Mapping[str, Any]) -> list[str]:
    return [word.lower() for key in _STATUS_WORDS if isinstance(word := fields.get(key), str) and word]


def _candidates(content: object, path: tuple[str, ...], *, depth: int) -> Iterator[tuple[tuple[str, ...], str]]:
    if depth > _DEPTH_MAX:
        return
    inner = content.items() if isinstance(content, dict) else ()
    for key, value in inner:
        if key not in _OURS and _ID_KEY.fullmatch(key) and _identifier(value):
            yield (*path, key), _identifier(value)
        elif isinstance(value, str) and key in _ENVELOPES and _identifier(value) and " " not in value:
            yield (*path, key), value
        yield from _candidates(value, (*path, key), depth=depth + 1)
    for value in content[:CANDIDATES_MAX] if isinstance(content, list) else ():
        yield from _candidates(value, path, depth=depth + 1)
