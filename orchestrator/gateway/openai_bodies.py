"""Request bodies of OpenAI's endpoints: what the vendor refuses, in the vendor's words.

`openai_bodies.json` holds a JSON schema per endpoint, generated from the types of the `openai` package
(tests/gateway/vendor_bodies.py); a test compares the file with the installed package. LIMITS and the rules by model are
what the types do not say, each with a source.

Rule: a body that passes here is one that the vendor's own client could send, and the named model would take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema_rs import Draft202012Validator
from jsonschema_rs import ValidationErrorKind as Kind

from orchestrator.gateway.body_faults import BodyFault, leaves
from orchestrator.gateway.strict_schema import refusal_of_schema

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
RESPONSES: Final = "/v1/responses"
ENDPOINTS: Final = (CHAT, EMBEDDINGS, RESPONSES)

# What the types do not bound. Sources: the vendor's OpenAPI document (openai/openai-openapi); for max_output_tokens the
# error text in vectorize-io/hindsight#58; for tools the error text "Invalid 'tools': empty array".
LIMITS: Final[Mapping[str, Mapping[str, Any]]] = {
    CHAT: {
        "messages": {"minItems": 1},
        "tools": {"minItems": 1},
        "temperature": {"minimum": 0, "maximum": 2},
        "top_p": {"minimum": 0, "maximum": 1},
        "presence_penalty": {"minimum": -2, "maximum": 2},
        "frequency_penalty": {"minimum": -2, "maximum": 2},
        "n": {"minimum": 1, "maximum": 128},
        "max_tokens": {"minimum": 1},
        "max_completion_tokens": {"minimum": 1},
        "top_logprobs": {"minimum": 0, "maximum": 20},
        "metadata": {"maxProperties": 16},
    },
    EMBEDDINGS: {"input": {"minItems": 1, "maxItems": 2048, "minLength": 1}, "dimensions": {"minimum": 1}},
    RESPONSES: {
        "temperature": {"minimum": 0, "maximum": 2},
        "top_p": {"minimum": 0, "maximum": 1},
        "max_output_tokens": {"minimum": 16},
        "top_logprobs": {"minimum": 0, "maximum": 20},
        "metadata": {"maxProperties": 16},
    },
}
# By model, from public reports of the error texts below. Only chat's classic models take no reasoning_effort
# (coroot/coroot#698); unknown keys are `Unrecognized request argument` there, `Unknown parameter` on the newer ones.
REASONING_MODEL: Final = re.compile(r"gpt-[5-9]|o[1-9]")
CLASSIC_MODEL: Final = re.compile(r"gpt-4|gpt-3\.5")
SAMPLING: Final = ("temperature", "top_p")
DECIMALS: Final = frozenset({*SAMPLING, "presence_penalty", "frequency_penalty"})
# https://platform.openai.com/docs/guides/embeddings
DIMENSIONS: Final = {"text-embedding-3-large": 3_072, "text-embedding-3-small": 1_536, "text-embedding-ada-002": 1_536}
DIMENSIONS_DEFAULT: Final = 1_536
RESIZABLE_MODELS: Final = "text-embedding-3"

ECHO_MAX: Final = 64  # characters of a wrong value that an error repeats
JSON_TYPES: Final = {
    "string": "a string",
    "integer": "an integer",
    "number": "a decimal",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request has no answer: the HTTP status, and the vendor's error object."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"


@cache
def required_of(endpoint: str) -> tuple[str, ...]:
    """Return the keys a body must have for its batch to pass validation; a batch is of one model, so that is one."""
    return tuple(dict.fromkeys(("model", *_schemas()[endpoint].get("required", ()))))


def missing_parameter(name: str) -> Refusal:
    """Return the refusal of a request without a key it must have."""
    message = f"Missing required parameter: '{name}'."
    return Refusal(status=400, message=message, code="missing_required_parameter", param=name)


def refusal_of(endpoint: str, body: Any) -> Refusal | None:
    """Return how OpenAI refuses a body; None if it takes it."""
    if not isinstance(body, dict):
        return Refusal(status=400, message="We could not parse the JSON body of your request.")
    validator = _validator(endpoint)
    if not validator.is_valid(body):
        return _worded(list(leaves(validator.iter_errors(body))), body, endpoint)
    return _refused_by_model(endpoint, body)


@cache
def _schemas() -> dict[str, Any]:
    content = Path(__file__).with_suffix(".json").read_bytes()
    schemas: dict[str, Any] = msgspec.json.decode(content)
    return schemas


@cache
def _validator(endpoint: str) -> Draft202012Validator:
    return Draft202012Validator(_schemas()[endpoint] | {"allOf": [{"properties": LIMITS[endpoint]}]})


def _worded(faults: list[BodyFault], body: Mapping[str, Any], endpoint: str) -> Refusal:
    """Return the vendor's error for the first fault it would find; an unknown key at the top comes before all else."""
    order = (Kind.AdditionalProperties, Kind.Required)
    at_top = (fault for kind in order for fault in faults if not fault.path and isinstance(fault.kind, kind))
    first = next(at_top, faults[0])
    name = _spelled(first.path)
    match first.kind:
        case Kind.AdditionalProperties(unexpected):
            return _unknown([f"{name}.{key}" if name else key for key in unexpected], body, endpoint)
        case Kind.Required(key):
            return missing_parameter(f"{name}.{key}" if name else key)
        case Kind.Type():
            types = [each for fault in faults if fault.path == first.path for each in _types_of(fault.kind)]
            message = f"Invalid type for '{name}': expected {_expected(types)}, but got {_named(first.value)} instead."
            return Refusal(status=400, message=message, code="invalid_type", param=name)
        case Kind.Constant() | Kind.Enum():
            options = [each for fault in faults if fault.path == first.path for each in _options_of(fault.kind)]
            message = f"Invalid value: {_shown(first.value)}. Supported values are: {_listed(options)}."
            return Refusal(status=400, message=message, code="invalid_value", param=name)
    code, message = _out_of_bounds(first)
    return Refusal(status=400, message=f"Invalid '{name}': {message}", code=code, param=name)


def _unknown(names: list[str], body: Mapping[str, Any], endpoint: str) -> Refusal:
    """Return the refusal of unknown keys; the older models' chat endpoint has its own wording."""
    if "." not in names[0] and endpoint != RESPONSES and not _is_reasoning(body):
        plural = "s" if len(names) > 1 else ""
        return Refusal(
            status=400, message=f"Unrecognized request argument{plural} supplied: {', '.join(sorted(names))}"
        )
    message = f"Unknown parameter: '{names[0]}'."
    return Refusal(status=400, message=message, code="unknown_parameter", param=names[0])


def _out_of_bounds(fault: BodyFault) -> tuple[str, str]:
    """Return code and sentence for a value that a limit forbids."""
    number = "decimal" if fault.path[-1] in DECIMALS else "integer"
    size = "empty array" if fault.value == [] else "array too short"
    match fault.kind:
        case Kind.Minimum(limit):
            message = f"{number} below minimum value. Expected a value >= {limit}, but got {fault.value} instead."
            return f"{number}_below_min_value", message
        case Kind.Maximum(limit):
            message = f"{number} above maximum value. Expected a value <= {limit}, but got {fault.value} instead."
            return f"{number}_above_max_value", message
        case Kind.MinItems(limit):
            message = f"{size}. Expected an array with minimum length {limit}, but got an {size} instead."
            return "empty_array", message
        case Kind.MaxItems(limit):
            message = f"array too long. Expected an array with maximum length {limit}, but got one with length"
            return "array_above_max_length", f"{message} {len(fault.value)} instead."
        case Kind.MinLength():
            return (
                "empty_string",
                "empty string. Expected a string with minimum length 1, but got an empty string instead.",
            )
        case Kind.MaxProperties(limit):
            message = f"too many properties. Expected an object with at most {limit} properties, but got"
            return "object_above_max_properties", f"{message} {len(fault.value)} instead."
    return "invalid_value", f"{fault.kind.name} is not as required."


def _refused_by_model(endpoint: str, body: Mapping[str, Any]) -> Refusal | None:
    """Return how a model refuses a body whose form is right."""
    match endpoint:
        case "/v1/chat/completions":
            return _refused_by_chat_model(body)
        case "/v1/responses":
            return _refused_by_responses(body)
    model, dimensions = body["model"], body.get("dimensions")
    if dimensions is None:
        return None
    if not model.startswith(RESIZABLE_MODELS):
        return Refusal(status=400, message="This model does not support specifying dimensions.")
    most = dimensions_of(model)
    if dimensions > most:
        message = f"Invalid value for 'dimensions' = {dimensions}. Must be less than or equal to {most}."
        return Refusal(status=400, message=message)
    return None


def dimensions_of(model: str) -> int:
    """Return how long a model's vectors are unless they are asked for shorter."""
    return DIMENSIONS.get(model, DIMENSIONS_DEFAULT)


def _refused_by_chat_model(body: Mapping[str, Any]) -> Refusal | None:
    if body.get("metadata") and not body.get("store"):
        message = "The 'metadata' parameter is only allowed when 'store' is enabled."
        return Refusal(status=400, message=message, param="metadata")
    wanted = body.get("response_format") or {}
    if message := _refused_schema(wanted.get("json_schema")):
        return Refusal(status=400, message=message, param="response_format")
    if not _is_reasoning(body):
        if body.get("reasoning_effort") is not None and CLASSIC_MODEL.match(body["model"]):
            return Refusal(status=400, message="Unrecognized request argument supplied: reasoning_effort")
        return None
    if body.get("max_tokens") is not None:
        message = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return _unsupported("max_tokens", f"Unsupported parameter: {message}", "unsupported_parameter")
    for name in _fixed_sampling(body, body.get("reasoning_effort")):
        if name == "temperature":
            message = f"does not support {body[name]:g} with this model. Only the default (1) value is supported."
            return _unsupported(name, f"Unsupported value: '{name}' {message}", "unsupported_value")
        return _unsupported(name, f"Unsupported parameter: '{name}' is not supported with this model.")
    return None


def _refused_by_responses(body: Mapping[str, Any]) -> Refusal | None:
    sources = ("input", "previous_response_id", "prompt", "conversation")
    if all(body.get(name) is None for name in sources):
        message = "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided."
        return Refusal(status=400, message=message, code="missing_required_parameter", param="input")
    if message := _refused_schema((body.get("text") or {}).get("format")):
        return Refusal(status=400, message=message, code="invalid_json_schema", param="text.format.schema")
    if not _is_reasoning(body):
        return None
    for name in _fixed_sampling(body, (body.get("reasoning") or {}).get("effort")):
        return _unsupported(name, f"Unsupported parameter: '{name}' is not supported with this model.")
    return None


def _refused_schema(wanted: Mapping[str, Any] | None) -> str:
    """Return why the schema that an answer is wanted of is refused; "" where it is taken."""
    is_strict = wanted is not None and wanted.get("strict") is True
    return refusal_of_schema(wanted["name"], wanted.get("schema")) if wanted is not None and is_strict else ""


def _fixed_sampling(body: Mapping[str, Any], effort: str | None) -> Iterator[str]:
    """Yield the sampling parameters that a reasoning model has no other value for than 1."""
    if effort != "none":
        yield from (name for name in SAMPLING if body.get(name) not in {None, 1})


def _unsupported(name: str, message: str, code: str = "unsupported_parameter") -> Refusal:
    return Refusal(status=400, message=message, code=code, param=name)


def _is_reasoning(body: Mapping[str, Any]) -> bool:
    model = body.get("model")
    return isinstance(model, str) and REASONING_MODEL.match(model) is not None


def _spelled(path: Sequence[str | int]) -> str:
    """Return a path as the vendor spells it: `messages[0].content`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _types_of(kind: Kind) -> list[str]:
    return kind.types if isinstance(kind, Kind.Type) else []


def _options_of(kind: Kind) -> list[Any]:
    match kind:
        case Kind.Constant(expected):
            return [expected]
        case Kind.Enum(options):
            return list(options)
    return []


def _expected(types: Iterable[str]) -> str:
    words = list(dict.fromkeys(JSON_TYPES[each] for each in types if each != "null"))
    return words[0] if len(words) == 1 else f"one of {', '.join(words[:-1])} or {words[-1]}"


def _named(value: Any) -> str:
    """Return the words for the JSON type of a value."""
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return JSON_TYPES[names.get(type(value), "null")]


def _shown(value: Any) -> str:
    """Return a wrong value as an error repeats it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text[:ECHO_MAX]}'"


def _listed(options: Iterable[Any]) -> str:
    *others, last = dict.fromkeys(_shown(each) for each in options)
    comma = "," if len(others) > 1 else ""
    return f"{', '.join(others)}{comma} and {last}" if others else last
