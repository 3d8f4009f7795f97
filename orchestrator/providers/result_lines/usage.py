"""The token counts of an answer, from the names that providers and gateways have for them.

Rule 1: `input` is all tokens of the prompt, with those that came from a cache; `cached` is how many did.
Rule 2: `output` is all tokens that were generated, with those of reasoning; `reasoning` is how many were.
Rule 3: of two names for one count the first that is not zero counts: gateways send a zero beside the real figure.

OpenAI's counts include what the details count again. Anthropic's `input_tokens` excludes cached tokens, Gemini's
`candidatesTokenCount` and Grok's `completion_tokens` exclude reasoning: these are added. Grok's are told by their total
(VariantConst/OpenWebUI-Monitor#99).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

TOKENS_MAX: Final = 2**40


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Any = None
    reasoning_tokens: Any = None


_MaybeDetails = _Details | list[Any] | str | int | float | bool | None


class Usage(msgspec.Struct, gc=False):
    """Token counts as OpenAI, Anthropic, Cohere, and the gateways before them name them."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    prompt_tokens_details: _MaybeDetails = None
    completion_tokens_details: _MaybeDetails = None
    input_tokens_details: _MaybeDetails = None
    output_tokens_details: _MaybeDetails = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    prompt_cache_hit_tokens: Any = None  # DeepSeek
    cached_tokens: Any = None  # Moonshot
    reasoning_tokens: Any = None
    tokens: Any = None  # Cohere: {input_tokens, output_tokens}


class GeminiUsage(msgspec.Struct, gc=False, rename="camel"):
    """Token counts as Gemini names them."""

    prompt_token_count: Any = None
    candidates_token_count: Any = None
    cached_content_token_count: Any = None
    thoughts_token_count: Any = None


class Tokens(NamedTuple):
    """Token counts; None where the provider gives none."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


NO_TOKENS: Final = Tokens()
_NO_DETAILS: Final = _Details()


def tokens_of(usage: Usage) -> tuple[int | None, int | None, int | None, int | None]:
    """Return the counts of a `usage`, in the order of `Tokens`."""
    given, taken = usage.prompt_tokens, usage.completion_tokens
    read, written = usage.prompt_tokens_details, usage.completion_tokens_details
    if type(read) is _Details and type(written) is _Details and type(given) is int and type(taken) is int:
        cached, reasoning = read.cached_tokens, written.reasoning_tokens
        are_whole = type(cached) is type(reasoning) is int and given > 0
        if are_whole and 0 <= cached <= given <= TOKENS_MAX and reasoning == 0 < taken <= TOKENS_MAX:
            return given, taken, cached, reasoning  # OpenAI's ordinary line: the search would double the time
    return _searched(usage)


def _searched(usage: Usage) -> Tokens:
    """Return the counts under whatever names they have."""
    prompt, completion = _details(usage.prompt_tokens_details), _details(usage.completion_tokens_details)
    read, written = _details(usage.input_tokens_details), _details(usage.output_tokens_details)
    cohere = usage.tokens if type(usage.tokens) is dict else {}
    cached = _first(
        prompt.cached_tokens,
        read.cached_tokens,
        usage.cache_read_input_tokens,
        usage.prompt_cache_hit_tokens,
        usage.cached_tokens,
    )
    given = _first(usage.prompt_tokens)
    if not given:
        given = _first(usage.input_tokens, cohere.get("input_tokens"), usage.prompt_tokens)
        if given is not None and read is _NO_DETAILS:
            given += (_count(usage.cache_read_input_tokens) or 0) + (_count(usage.cache_creation_input_tokens) or 0)
    taken = _first(usage.completion_tokens, usage.output_tokens, cohere.get("output_tokens"))
    reasoning = _first(completion.reasoning_tokens, written.reasoning_tokens, usage.reasoning_tokens)
    if reasoning and given and taken and _count(usage.total_tokens) == given + taken + reasoning:
        taken += reasoning
    return Tokens(given, taken, cached, reasoning)


def gemini_tokens_of(usage: GeminiUsage) -> Tokens:
    """Return the counts of a `usageMetadata`."""
    thoughts, given = _count(usage.thoughts_token_count), _count(usage.candidates_token_count)
    output = None if thoughts is None and given is None else (given or 0) + (thoughts or 0)
    return Tokens(_count(usage.prompt_token_count), output, _count(usage.cached_content_token_count), thoughts)


def _details(given: _MaybeDetails) -> _Details:
    return given if type(given) is _Details else _NO_DETAILS


def _first(*values: Any) -> int | None:
    """Return the first count that is not zero; else zero, where there is any."""
    zero = None
    for value in values:
        if value is not None:
            count = _count(value)
            if count:
                return count
            zero = count if zero is None else zero
    return zero


def _count(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None
