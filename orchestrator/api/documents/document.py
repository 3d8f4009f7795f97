"""A document is one JSON object that a program is given: by `--json`, by `--events`, by the MCP server.

Rule 1: its struct is the only source: the output and the JSON Schema are both made from it, so they cannot differ.
Rule 2: `schema` names kind and version. Within a version, fields are only added.
Rule 3: amounts are texts, exact; times are ISO 8601 in UTC; `null` is "not known". All fields are always there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

Usd = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="USD, exact")]
Count = Annotated[int, Meta(ge=0)]
Time = Annotated[datetime, Meta(tz=True)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object within a document."""


class Document(Part, frozen=True, kw_only=True, tag_field="schema"):
    """One JSON object; each kind has a tag, `orchestrator.NAME/VERSION`."""


Kind = TypeVar("Kind", bound=Part)


def usd(amount: Decimal) -> str:
    """Return an amount as documents have it: exact, never as 1E-9."""
    return f"{amount:f}"


def usd_or_none(amount: Decimal | None) -> str | None:
    """Return an amount as documents have it, or None where it is not known."""
    return None if amount is None else usd(amount)


def filled(kind: type[Kind], values: Mapping[str, Any], **more: Any) -> Kind:
    """Return a document with these values, as JSON has them. Raises ValueError where they are not its fields."""
    return msgspec.convert(dict(values) | more, kind)


def plain(document: Part) -> dict[str, Any]:
    """Return a document as JSON has it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return found


def text(document: Part) -> str:
    """Return a document as one line of JSON, in ASCII: no control character of a provider's text is in it."""
    return json.dumps(plain(document))


def schema_name(kind: type[Document]) -> str:
    """Return the value of `schema` in documents of a kind."""
    return str(kind.__struct_config__.tag)
