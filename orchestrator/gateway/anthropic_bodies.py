"""Parameters of Anthropic's messages: what the vendor refuses, in the vendor's words.

`anthropic_bodies.json` holds their JSON schema, generated from the types of the `anthropic` package
(tests/gateway/vendor_bodies.py); a test compares the file with the installed package. What the types do not say is
here, each with a source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema_rs import Draft202012Validator
from jsonschema_rs import ValidationErrorKind as Kind

from orchestrator.gateway.body_faults import BodyFault, leaves
from orchestrator.gateway.openai_bodies import Refusal

MESSAGES: Final = "/v1/messages"
VERSION: Final = "2026-10-21"
OLD_VERSION: Final = "2023-06-01"
VERSIONS: Final = (OLD_VERSION, VERSION)
# The guide "Batch processing": max_tokens 0 is not for batches. Lists by the Messages API's own errors.
LIMITS: Final = {"max_tokens": {"minimum": 1}, "messages": {"minItems": 1}}
# Gone with version 2026-10-21 ("temperature: Extra inputs are not permitted", ttlequals0/MinusPod v2.101.10), and
# refused by later models under the old version, too ("temperature is deprecated for this model", copilot-sdk#1557).
SAMPLING: Final = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 0},
}
SAMPLING_MODEL: Final = re.compile(r"claude-(?:[0-3]|[a-z]+-(?:[0-3]|4-[0-6])(?!\d)|[a-z]+-4(?!-\d{1,2}(?!\d)))")
NOT_IN_BATCHES: Final = ("stream", "speed")  # the same guide
JSON_TYPES: Final = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "dictionary",
}


def refusal_of(params: Any, version: str) -> Refusal | None:
    """Return how Anthropic refuses the parameters of a message; None if it takes them."""
    if not isinstance(params, dict):
        return _refusal("Input should be a valid dictionary")
    validator = _validator(has_sampling=version == OLD_VERSION)
    if not validator.is_valid(params):
        return _refusal(_worded(list(leaves(validator.iter_errors(params)))))
    for message in (*_beyond_types(params), *(_misplaced(params) if version != OLD_VERSION else ())):
        return _refusal(message)
    return None


@cache
def _validator(*, has_sampling: bool) -> Draft202012Validator:
    schemas: dict[str, Any] = msgspec.json.decode(Path(__file__).with_suffix(".json").read_bytes())
    schema = schemas[MESSAGES]
    sampling = SAMPLING if has_sampling else {}
    return Draft202012Validator(
        schema | {"properties": schema["properties"] | sampling, "allOf": [{"properties": LIMITS}]}
    )


def _refusal(message: str) -> Refusal:
    return Refusal(status=400, message=message)


def _beyond_types(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a batch or a model refuses of parameters whose form is right."""
    yield from (f"{name}: not supported in batches" for name in NOT_IN_BATCHES if params.get(name) is not None)
    if not SAMPLING_MODEL.match(params["model"]):
        yield from (f"`{name}` is deprecated for this model." for name in SAMPLING if name in params)


def _misplaced(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield what version 2026-10-21 refuses where earlier ones took it."""
    for number, message in enumerate(params["messages"]):
        content = message["content"] if isinstance(message["content"], list) else ()
        for index, block in enumerate(content):
            where = f"messages.{number}.content.{index}"
            if message["role"] == "assistant" and block["type"] == "document":
                yield f"{where}: document blocks are not permitted in assistant messages"
            if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
                yield f"{where}.citations: Extra inputs are not permitted"


def _worded(faults: Sequence[BodyFault]) -> str:
    """Return the vendor's words for the first fault."""
    first = faults[0]
    kinds = [fault.kind for fault in faults if fault.path == first.path]
    match first.kind:
        case Kind.AdditionalProperties(unexpected):
            return _at((*first.path, unexpected[0]), "Extra inputs are not permitted")
        case Kind.Required(key):
            return _at((*first.path, key), "Field required")
        case Kind.Type():
            names = [name for kind in kinds if isinstance(kind, Kind.Type) for name in kind.types]
            known = dict.fromkeys(JSON_TYPES[name] for name in names if name in JSON_TYPES)
            return _at(first.path, f"Input should be a valid {' or '.join(known)}")
        case Kind.Constant() | Kind.Enum():
            return _at(first.path, f"Input should be {' or '.join(dict.fromkeys(_options(kinds)))}")
        case Kind.Minimum(limit):
            return _at(first.path, f"Input should be greater than or equal to {limit}")
        case Kind.Maximum(limit):
            return _at(first.path, f"Input should be less than or equal to {limit}")
        case Kind.MinItems(limit):
            return _at(first.path, f"at least {limit} item is required")
    return _at(first.path, f"{first.kind.name} is not as required")


def _options(kinds: Sequence[Kind]) -> Iterator[str]:
    for kind in kinds:
        match kind:
            case Kind.Constant(expected):
                yield repr(expected)
            case Kind.Enum(options):
                yield from map(repr, options)


def _at(path: Sequence[str | int], words: str) -> str:
    return f"{'.'.join(map(str, path))}: {words}" if path else words
