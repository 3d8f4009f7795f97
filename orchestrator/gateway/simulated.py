"""The simulated model: a plausible answer that depends on the request alone, its usage and its price.

Rule 1: the same custom_id and params get the same answer, on any day, in any batch.
Rule 2: a request a real model would refuse (no messages, a wrong type) fails alone, with a 400 of its own.
Rule 3: tokens are words of the answer and a quarter of the bytes of the prompt; money is whole nano-dollars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from orchestrator.gateway.schema import instance_of

ECHOED_WORDS_MAX: Final = 12
BYTES_PER_TOKEN: Final = 4

# Nano-dollars per token, in and out. gpt-4o-mini's are those behind the documentation's own sample (54 + 1644 tokens,
# 0.000497000); gpt-4o's are the simulation's own, so that a second model costs something else.
PRICES_NANO_USD: Final = {"gpt-4o-mini": (75, 300), "gpt-4o": (1_250, 5_000)}
PRICE_DEFAULT_NANO_USD: Final = (75, 300)


class Block(msgspec.Struct):
    """A part of a message; only text ones count."""

    text: str = ""


class Message(msgspec.Struct):
    """One message, of either dialect."""

    role: str
    content: str | list[Block] | None = None


class JsonSchema(msgspec.Struct):
    """OpenAI's wrapper of a schema."""

    schema: dict[str, Any] = {}


class ResponseFormat(msgspec.Struct):
    """OpenAI's `response_format`, and Anthropic's `output_config.format`, whose schema stands one level higher."""

    type: str = "text"
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    """Anthropic's `output_config`."""

    format: ResponseFormat | None = None


class Params(msgspec.Struct):
    """The fields of `params` that shape an answer; the others are accepted and ignored."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    system: str | list[Block] | None = None
    response_format: ResponseFormat | None = None
    output_config: OutputConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said."""

    model: str
    text: str
    finish_reason: str  # "stop" | "length"
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no answer: an HTTP status, OpenAI's code, and a sentence."""

    status: int
    code: str
    message: str


_params_decoder = msgspec.json.Decoder(Params)


def answer(params: bytes | memoryview | msgspec.Raw) -> Answer | Refusal:
    """Answer one request, or say why a real model would not."""
    try:
        request = _params_decoder.decode(params)
    # Not ValidationError alone: the body's check skips over what it does not need, bad strings included.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refusal(status=400, code="invalid_request_error", message=f"invalid params: {error}")
    text = _provider_message(request)
    words_max = request.max_completion_tokens or request.max_tokens
    words = text.split()
    is_cut = words_max is not None and len(words) > words_max
    prompt_bytes = len(_text_of(request.system).encode())
    prompt_bytes += sum(len(_text_of(message.content).encode()) for message in request.messages)
    return Answer(
        model=request.model,
        text=" ".join(words[:words_max]) if is_cut else text,
        finish_reason="length" if is_cut else "stop",
        input_tokens=max(1, -(-prompt_bytes // BYTES_PER_TOKEN)),
        output_tokens=min(len(words), words_max or len(words)),
    )


def price_nano_usd(model: str, input_tokens: int, output_tokens: int) -> int:
    """Return what an answer costs; `openai/gpt-4o-mini-batch` and `gpt-4o-mini` are the same model."""
    name = model.rpartition("/")[2].removesuffix("-batch")
    per_input, per_output = PRICES_NANO_USD.get(name, PRICE_DEFAULT_NANO_USD)
    return input_tokens * per_input + output_tokens * per_output


def _provider_message(request: Params) -> str:
    asked = next((m for m in reversed(request.messages) if m.role == "user"), request.messages[-1])
    words = _text_of(asked.content).split(maxsplit=ECHOED_WORDS_MAX)[:ECHOED_WORDS_MAX]
    wanted = request.response_format
    if wanted is None and request.output_config is not None:
        wanted = request.output_config.format
    if wanted is None or wanted.type not in {"json_schema", "json_object"}:
        return " ".join(["[simulated]", *words])
    schema = wanted.schema or (wanted.json_schema.schema if wanted.json_schema else {})
    return msgspec.json.encode(instance_of(schema, " ".join(words))).decode()


def _text_of(content: str | list[Block] | None) -> str:
    if isinstance(content, list):
        return " ".join(block.text for block in content)
    return content or ""
