"""All kinds of documents, and their JSON Schemas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Union

import msgspec

from orchestrator.api.documents.document import Document, Part, schema_name
from orchestrator.api.documents.jobs import (
    Batches,
    Event,
    Export,
    Failures,
    Init,
    Plan,
    Reread,
    Resolve,
    Results,
    RetryPlan,
    Show,
)
from orchestrator.api.documents.meanings import field_meanings
from orchestrator.api.documents.status import Jobs, JobStatus, Report
from orchestrator.api.documents.upkeep import Audit, Doctor, Error, Faults, Recover, Rehearse

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA: Final = "the kind of the document and its version"
_KINDS: Final[tuple[type[Document], ...]] = (
    Init,
    Plan,
    RetryPlan,
    JobStatus,
    Jobs,
    Report,
    Event,
    Results,
    Failures,
    Export,
    Show,
    Batches,
    Resolve,
    Reread,
    Audit,
    Recover,
    Rehearse,
    Faults,
    Doctor,
    Error,
)


def name_of(kind: type[Document]) -> str:
    """Return the name of a kind: `status` of `orchestrator.status/1`."""
    return schema_name(kind).removeprefix("orchestrator.").partition("/")[0]


KINDS: Final = {name_of(kind): kind for kind in _KINDS}


def _parts(of: type[Part]) -> Iterator[tuple[str, type[Part]]]:
    for one in of.__subclasses__():
        yield one.__name__, one
        yield from _parts(one)


_PARTS: Final = dict(_parts(Part))


def schema_of(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON Schema of a document of one of these kinds. Raises KeyError for a name that is none.

    Other fields than those of the schema are allowed, because a later program may add some.
    """
    kinds = tuple(KINDS[name] for name in names)
    found = msgspec.json.schema(kinds[0] if len(kinds) == 1 else Union[kinds])  # noqa: UP007 - made from a tuple
    title = schema_name(kinds[0]) if len(kinds) == 1 else "one of " + ", ".join(map(schema_name, kinds))
    open_to_more: dict[str, Any] = _open(found)
    for name, one in open_to_more["$defs"].items():
        _describe(_PARTS[name], one["properties"])
    return {"$schema": DIALECT, "title": title} | open_to_more


def _describe(kind: type[Part], properties: dict[str, Any]) -> None:
    """Say what each field means."""
    meanings = {"schema": SCHEMA}
    for one in reversed(kind.__mro__):
        if issubclass(one, Part):
            meanings |= field_meanings(one)
    for name, of in properties.items():
        unit = of.get("description", "")
        of["description"] = "; ".join(filter(None, (meanings[name], unit)))


def _open(schema: Any) -> Any:
    """Return a schema without the rule that an object has no other fields; with the text of docstrings on one line."""
    if isinstance(schema, list):
        return [_open(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _open(one) for name, one in schema.items() if (name, one) != ("additionalProperties", False)}
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    return found
