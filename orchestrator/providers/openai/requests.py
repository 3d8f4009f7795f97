"""Translates neutral fields to the bodies of OpenAI's three endpoints. Translating a body again does not change it.

Source: the types of openai 3.57.0 (chat/completion_create_params, responses/response_create_params,
embedding_create_params), read 2026-11-30. What a model refuses is in `models`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from orchestrator.providers.openai.models import refused_sampling, rule_of, takes_images
from orchestrator.providers.request_fields import (
    Refuser,
    forbids_parallel_tools,
    messages_of,
    openai_content,
    openai_tool_choice,
    openai_tools,
    refuse_others,
    responses_tool_choice,
    responses_tools,
)

Request = Mapping[str, Any]
Body = dict[str, Any]

_LEAVE_OUT: Final = "Leave it out"
# A request with only these keys, and strings for contents, to a classic model is already a chat completion.
_PLAIN: Final = frozenset(
    {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "metadata", "response_format", "user"}
)


def chat_body(request: Request, accepts: Collection[str]) -> Body:
    """Return the body of a chat completion. Raises ConfigError."""
    model = str(request.get("model"))
    rule = rule_of(model)
    if request.keys() <= _PLAIN and not rule.counts_reasoning and _has_plain_messages(request.get("messages")):
        return dict(request)
    refuser = Refuser(api="OpenAI's chat completions", model=model, takes_images=takes_images(model))
    effort = request.get("reasoning_effort")
    _check(request, refuser, accepts, unknown=("top_k", "thinking", "dimensions"), effort=effort)
    for neutral, own in (("max_tokens", "max_completion_tokens"), ("stop_sequences", "stop")):
        if neutral in request:
            _refuse_both(request, refuser, neutral, own)
    body = Body()
    for key, value in request.items():
        body |= {key: value} if key in accepts else _chat_field(key, value, request, refuser)
    if "messages" not in body:
        messages_of(request, refuser)
    return body


def _chat_field(key: str, value: Any, request: Request, refuser: Refuser) -> Body:
    """Translate a neutral field for a chat completion; the API's own fields are unchanged."""
    match key:
        case "system":
            return {}
        case "messages" | "prompt":
            messages = messages_of(request, refuser)
            if request.get("system") is not None:
                messages.insert(0, {"role": "system", "content": request["system"]})
            return {"messages": _chat_messages(messages, refuser)}
        case "max_tokens" if rule_of(refuser.model).counts_reasoning:
            return {"max_completion_tokens": value}
        case "stop_sequences":
            return {"stop": value}
        case "tools":
            return {"tools": openai_tools(value, refuser)}
        case "tool_choice":
            parallel = {"parallel_tool_calls": False} if forbids_parallel_tools(value) else {}
            return {"tool_choice": openai_tool_choice(value, refuser), **parallel}
    return {key: value}


def responses_body(request: Request, accepts: Collection[str]) -> Body:
    """Return the body of a call of the Responses API. Raises ConfigError."""
    model = str(request.get("model"))
    refuser = Refuser(api="OpenAI's responses", model=model, takes_images=takes_images(model))
    effort = request.get("reasoning_effort") or _table(request, "reasoning").get("effort")
    unknown = ("top_k", "thinking", "stop", "stop_sequences", "seed", "dimensions")
    _check(request, refuser, accepts, unknown=unknown, effort=effort)
    body = Body()
    for key, value in request.items():
        body |= {key: value} if key in accepts else _responses_field(key, value, request, refuser)
    if "input" not in body and "prompt" not in body:
        messages_of(request, refuser)
    return body


def _responses_field(key: str, value: Any, request: Request, refuser: Refuser) -> Body:
    """Translate a neutral field for the Responses API; the API's own fields are unchanged."""
    match key:
        case "prompt" if not isinstance(value, str):  # the API's own: a stored prompt
            return {key: value}
        case "messages" | "prompt":
            _refuse_both(request, refuser, key, "input")
            return {"input": _input(request, refuser)}
        case "system":
            _refuse_both(request, refuser, key, "instructions")
            return {"instructions": _instructions(value, refuser)}
        case "max_tokens":
            _refuse_both(request, refuser, key, "max_output_tokens")
            return {"max_output_tokens": value}
        case "reasoning_effort":
            return {"reasoning": _table(request, "reasoning") | {"effort": value}}
        case "response_format":
            return {"text": _table(request, "text") | {"format": _text_format(value, refuser)}}
        case "tools":
            return {"tools": responses_tools(value, refuser)}
        case "tool_choice":
            parallel = {"parallel_tool_calls": False} if forbids_parallel_tools(value) else {}
            return {"tool_choice": responses_tool_choice(value, refuser), **parallel}
        case "reasoning" | "text" if {"reasoning": "reasoning_effort", "text": "response_format"}[key] in request:
            return {}
    return {key: value}


def _table(request: Request, key: str) -> Body:
    value = request.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def embeddings_body(request: Request, accepts: Collection[str]) -> Body:
    """Return the body of an embedding: one input, the prompt's text. Raises ConfigError."""
    refuser = Refuser(api="OpenAI's embeddings", model=str(request.get("model")))
    known = {"model", "messages", "prompt", "input", "dimensions", "encoding_format", "user", *accepts}
    for key in request:
        if key not in known:
            raise refuser.unknown(key)
    body = {key: value for key, value in request.items() if key not in ("messages", "prompt")}
    if "input" in body:
        if not isinstance(body["input"], str):
            raise refuser.error(
                "input", "one row has one vector, and this is not one text", "Give one text for each row"
            )
        return body
    messages = messages_of(request, refuser)
    if len(messages) != 1 or messages[0].get("role") != "user" or not isinstance(messages[0].get("content"), str):
        why = "an embedding has one text, and no roles"
        raise refuser.error("messages", why, 'Give the text as request.prompt = "{column}"')
    return {"model": body.pop("model"), "input": messages[0]["content"], **body}


BODIES: Final[Mapping[str, Callable[[Request, Collection[str]], Body]]] = {
    "/v1/chat/completions": chat_body,
    "/v1/responses": responses_body,
    "/v1/embeddings": embeddings_body,
}


def _check(
    request: Request, refuser: Refuser, accepts: Collection[str], *, unknown: tuple[str, ...], effort: Any
) -> None:
    """Refuse fields that the API does not have, a batch cannot serve, or the model does not accept."""
    rule = rule_of(refuser.model)
    for key in unknown:
        if key == "thinking" and key in request and key not in accepts:
            raise refuser.error(key, f"{refuser.api} have no such field", "Set request.reasoning_effort instead")
        if key in request and key not in accepts:
            raise refuser.unknown(key)
    if request.get("stream"):
        raise refuser.error("stream", "a batch does not stream", _LEAVE_OUT)
    if request.get("n", 1) != 1:
        raise refuser.error("n", "one row has one answer, and the others would be paid for and lost", _LEAVE_OUT)
    for key in refused_sampling(rule, effort):
        if key in request and key not in accepts:
            why = "this model takes it only without reasoning, and answers HTTP 400"
            raise refuser.error(key, why, f'{_LEAVE_OUT}, or set request.reasoning_effort = "none"')
    for key, way_out in rule.refuses.items():
        named = next((name for name in (key, f"{key}_sequences") if name in request), None)
        if named is not None and named not in accepts:
            raise refuser.error(named, "this model does not take it, and answers HTTP 400", way_out)


def _refuse_both(request: Request, refuser: Refuser, neutral: str, own: str) -> None:
    if own in request:
        raise refuser.error(own, f"{neutral} is given, too, and becomes the same field", "Give one of them")


def _has_plain_messages(messages: Any) -> bool:
    return type(messages) is list and all(type(one) is dict and type(one.get("content")) is str for one in messages)


def _chat_messages(messages: list[dict[str, Any]], refuser: Refuser) -> list[dict[str, Any]]:
    return [
        message | {"content": openai_content(message["content"], f"messages[{number}].content", refuser)}
        if "content" in message
        else message
        for number, message in enumerate(messages)
    ]


def _input(request: Request, refuser: Refuser) -> Any:
    """Return the input: a text where there is one message of the user, else a list of messages."""
    messages = messages_of(request, refuser)
    if len(messages) == 1 and messages[0].keys() == {"role", "content"} and messages[0]["role"] == "user":
        content = messages[0]["content"]
        if isinstance(content, str):
            return content
    return [_input_message(message, number, refuser) for number, message in enumerate(messages)]


def _input_message(message: dict[str, Any], number: int, refuser: Refuser) -> dict[str, Any]:
    place, role = f"messages[{number}]", message.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        why = f"{refuser.api} have no messages of the role {role!r}"
        raise refuser.error(place, why, "Give request.input in the API's own form")
    refuse_others(message.keys() - {"role", "content"}, place, refuser)
    content = openai_content(message.get("content"), f"{place}.content", refuser)
    if isinstance(content, list):
        content = [_input_part(part, f"{place}.content[{index}]", role, refuser) for index, part in enumerate(content)]
    return {"role": role, "content": content}


def _input_part(part: dict[str, Any], place: str, role: str, refuser: Refuser) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": text} if role != "assistant":
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, **others}}:
            return {"type": "input_image", "image_url": url, "detail": others.get("detail", "auto")}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **file}
    why = f"{refuser.api} take no {part.get('type')!r} in a message of the {role}"
    raise refuser.error(place, why, "Give request.input in the API's own form")


def _instructions(system: Any, refuser: Refuser) -> str:
    if isinstance(system, str):
        return system
    parts = openai_content(system, "system", refuser)
    if isinstance(parts, list) and all(part.get("type") == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    raise refuser.error("system", "the instructions are a text", "Give a text")


def _text_format(response_format: Any, refuser: Refuser) -> dict[str, Any]:
    match response_format:
        case {"type": "json_schema", "json_schema": dict(schema)}:
            return {"type": "json_schema", **schema}
        case {"type": "json_object" | "text" | "json_schema"}:
            return dict(response_format)
    why = "it is neither a JSON schema nor json_object"
    raise refuser.error("response_format", why, "See docs/openai.md")
