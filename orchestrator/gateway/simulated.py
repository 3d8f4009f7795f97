"""The simulated model: a plausible answer that depends on the request alone, its usage and its price.

Rule 1: the same request gets the same answer, on any day, in any batch.
Rule 2: a request that the real endpoint would refuse fails alone, with a 400 of its own.
Rule 3: tokens are words of the answer and a quarter of the bytes of the prompt; money is whole nano-dollars.
"""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from orchestrator.gateway.anthropic_bodies import refusal_of as refusal_of_message
from orchestrator.gateway.openai_bodies import CHAT, EMBEDDINGS, Refusal, dimensions_of, refusal_of
from orchestrator.gateway.schema import instance_of, schema_in

ECHOED_WORDS_MAX: Final = 12
BYTES_PER_TOKEN: Final = 4
DECIMALS: Final = 8  # of a number in a vector

# Nano-dollars per token, in and out. gpt-4o-mini's are those behind the documentation's own sample (54 + 1644 tokens,
# 0.000497000); the others are half of the vendor's list prices (https://openai.com/api/pricing).
PRICES_NANO_USD: Final = {
    "gpt-4o-mini": (75, 300),
    "gpt-6-luna": (50, 250),
    "gpt-4o": (1_250, 5_000),
    "text-embedding-3-small": (10, 0),
    "text-embedding-3-large": (65, 0),
    "text-embedding-ada-002": (50, 0),
}
PRICE_DEFAULT_NANO_USD: Final = (75, 300)

Tokens = Annotated[int, msgspec.Meta(ge=1)]


class Block(msgspec.Struct):
    """A part of a message; only text is used."""

    text: str = ""


class Message(msgspec.Struct):
    """One message, of either dialect."""

    role: str
    content: str | list[Block] | None = None


class JsonSchema(msgspec.Struct):
    """OpenAI's wrapper of a schema."""

    schema: dict[str, Any] = {}


class ResponseFormat(msgspec.Struct):
    """OpenAI's `response_format`; in Anthropic's `output_config` and OpenAI's `text` the schema is one level higher."""

    type: str = "text"
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class Format(msgspec.Struct):
    """Anthropic's `output_config`, and `text` of OpenAI's responses."""

    format: ResponseFormat | None = None


class ChatBody(msgspec.Struct):
    """The fields of a chat request that shape an answer."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None


class Thinking(msgspec.Struct):
    """Anthropic's `thinking`."""

    type: str
    budget_tokens: int | None = None


class OneRouterParams(ChatBody):
    """All that OneRouter documents of `params`, by type; keys that it does not document are accepted and ignored."""

    system: str | list[Block] | None = None
    metadata: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    thinking: Thinking | None = None
    output_config: Format | None = None


class ResponsesBody(msgspec.Struct):
    """The fields of a request to /v1/responses that shape an answer."""

    model: str
    input: str | list[InputItem] | None = None
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    text: Format | None = None


class InputItem(msgspec.Struct):
    """One item of `input`; only messages count."""

    role: str = ""
    content: str | list[Block] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model answered: a text, or vectors in the encoding that was asked for."""

    model: str
    text: str
    finish_reason: str = "stop"  # "stop" | "length"
    input_tokens: int
    output_tokens: int = 0
    vectors: Sequence[list[float] | str] = ()


_onerouter_decoder = msgspec.json.Decoder(OneRouterParams)


def answer_onerouter(params: bytes | memoryview | msgspec.Raw) -> Answer | Refusal:
    """Answer one request of OneRouter's dialect."""
    try:
        request = _onerouter_decoder.decode(params)
    # Not only ValidationError: the check at the create skips values it does not need, invalid strings included.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refusal(status=400, code="invalid_request_error", message=f"invalid params: {error}")
    wanted = request.response_format or (request.output_config.format if request.output_config else None)
    return _spoken(
        request, request.messages, request.system, wanted, request.max_completion_tokens or request.max_tokens
    )


def answer_anthropic(version: str, params: bytes | memoryview | msgspec.Raw) -> Answer | Refusal:
    """Answer one request to the Messages API in this version, or refuse it as Anthropic does."""
    try:
        request = msgspec.json.decode(params)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = None
    return refusal_of_message(request, version) or answer_onerouter(params)


def answer_openai(endpoint: str, body: bytes | memoryview | msgspec.Raw) -> Answer | Refusal:
    """Answer one request to an endpoint of OpenAI's, or refuse it as OpenAI does."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = None
    refusal = refusal_of(endpoint, request)
    if refusal is not None:
        return refusal
    if endpoint == EMBEDDINGS:
        return _embedded(request)
    try:
        if endpoint == CHAT:
            chat = msgspec.convert(request, ChatBody)
            words_max = chat.max_completion_tokens or chat.max_tokens
            return _spoken(chat, chat.messages, None, chat.response_format, words_max)
        asked = msgspec.convert(request, ResponsesBody)
    except msgspec.ValidationError as error:  # such as 8.0, which JSON Schema takes for an integer
        return Refusal(status=400, code="invalid_type", message=f"Invalid type: {error}")
    items = [InputItem(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input or []
    wanted = asked.text.format if asked.text else None
    return _spoken(asked, items, asked.instructions, wanted, asked.max_output_tokens)


def _spoken(
    request: ChatBody | ResponsesBody,
    messages: Sequence[Message | InputItem],
    system: str | list[Block] | None,
    wanted: ResponseFormat | None,
    words_max: int | None,
) -> Answer:
    """Answer with a text: the beginning of the last message of the user, or JSON made of it."""
    asked = next((each for each in reversed(messages) if each.role == "user"), messages[-1] if messages else None)
    topic = " ".join(_text_of(asked.content if asked else None).split(maxsplit=ECHOED_WORDS_MAX)[:ECHOED_WORDS_MAX])
    text = f"[simulated] {topic}".rstrip()
    schema = schema_in(_text_of(system)) or schema_in(_text_of(messages[0].content if messages else None))
    if wanted is not None and wanted.type in {"json_schema", "json_object"}:
        schema = wanted.schema or (wanted.json_schema.schema if wanted.json_schema else {})
    if schema is not None:
        text = msgspec.json.encode(instance_of(schema, topic)).decode()
    words = text.split()
    is_cut = words_max is not None and len(words) > words_max
    prompt_bytes = sum(len(_text_of(each).encode()) for each in (system, *(message.content for message in messages)))
    return Answer(
        model=request.model,
        text=" ".join(words[:words_max]) if is_cut else text,
        finish_reason="length" if is_cut else "stop",
        input_tokens=max(1, -(-prompt_bytes // BYTES_PER_TOKEN)),
        output_tokens=min(len(words), words_max or len(words)),
    )


def _embedded(request: Mapping[str, Any]) -> Answer:
    """Answer with a vector for each input; the text of the answer is the model's name."""
    model = request["model"]
    inputs = request["input"]
    if isinstance(inputs, str) or isinstance(inputs[0], int):  # one text, or the tokens of one
        inputs = [inputs]
    length = int(request.get("dimensions") or dimensions_of(model))
    has_bytes = request.get("encoding_format") == "base64"
    return Answer(
        model=model,
        text=model,
        input_tokens=sum(_token_count(each) for each in inputs),
        vectors=[_vector(each, model, length, has_bytes=has_bytes) for each in inputs],
    )


def _token_count(text: str | list[int]) -> int:
    return max(1, -(-len(text.encode()) // BYTES_PER_TOKEN)) if isinstance(text, str) else len(text)


def _vector(text: str | list[int], model: str, length: int, *, has_bytes: bool) -> list[float] | str:
    """Return a vector of length 1 that depends on the text and the model; as bytes: little-endian float32, base64."""
    seed = msgspec.json.encode((model, text))
    numbers = array("h", hashlib.shake_128(seed).digest(2 * length))
    if sys.byteorder == "big":
        numbers.byteswap()
    norm = math.sqrt(sum(number * number for number in numbers)) or 1.0
    scaled = [round(number / norm, DECIMALS) for number in numbers]
    if not has_bytes:
        return scaled
    floats = array("f", scaled)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def price_nano_usd(model: str, input_tokens: int, output_tokens: int) -> int:
    """Return what an answer costs; `openai/gpt-4o-mini-batch` and `gpt-4o-mini` are the same model."""
    name = model.rpartition("/")[2].removesuffix("-batch")
    per_input, per_output = PRICES_NANO_USD.get(name, PRICE_DEFAULT_NANO_USD)
    return input_tokens * per_input + output_tokens * per_output


def _text_of(content: str | list[Block] | None) -> str:
    if isinstance(content, list):
        return " ".join(block.text for block in content)
    return content or ""
