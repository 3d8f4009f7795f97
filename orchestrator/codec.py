"""Encodes values as JSON and decodes them: one codec for everything that this program writes and reads again.

It serves job.json, the policy in the ledger and the records of the work folder.

Rule 1: an unknown field is ignored, and a missing field takes the dataclass's default, so that files and ledgers of
        other versions can be read. Unknown keys are refused only in files that people write (job files, settings),
        which are not read here.
Rule 2: amounts are strings, enums are their values, times are ISO 8601 in UTC; keys are sorted, so that equal values
        give equal bytes.
Rule 3: an error names the file or the column and the place in it, never a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from orchestrator.domain.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)


def plain(value: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass as a dict of JSON values, without fields that are None and would be None again if missing."""
    optional = {field.name for field in fields(value) if field.default is None and field.default_factory is MISSING}
    found: Mapping[str, Any] = msgspec.to_builtins(value, str_keys=True)
    return {name: item for name, item in found.items() if item is not None or name not in optional}


def encode(value: DataclassInstance) -> bytes:
    """Return a dataclass as one line of JSON."""
    return msgspec.json.encode(plain(value), order="sorted")


def decode(text: bytes | str, kind: type[Record], *, name: str) -> Record:
    """Return the value that `encode` wrote. Raises StorageError, which refers to the text as `name`."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise StorageError(f"{name} is damaged: {_place(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StorageError(f"{name} is damaged: it is not JSON") from None


def keep_unknown(known: str, text: str) -> str:
    """Add to the JSON object `text` the top-level fields of `known` that it lacks: another version's fields."""
    before, after = msgspec.json.decode(known), msgspec.json.decode(text)
    missing = {name: item for name, item in before.items() if name not in after}
    return msgspec.json.encode({**after, **missing}).decode() if missing else text


def _place(error: str) -> str:
    """Return msgspec's error message without the value that it quotes (`Invalid enum value 'x'`)."""
    what, _, place = error.partition(" - at ")
    what = what.partition("'")[0].strip() if "'" in what else what
    return f"{what} at {place}" if place else what
