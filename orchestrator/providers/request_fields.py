"""The neutral fields of a request, and their translation into the two common forms: OpenAI's and Anthropic's.

A neutral field may be written in either form: a tool as `{name, description, input_schema}` or as
`{type: "function", function: {…}}`; an image as a block with a `source` or as an `image_url` part. Each function here
takes both forms and returns one of them, so that translating twice changes nothing.

Strings may be templates with `{column}` placeholders: they are moved and concatenated, never inspected.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.request_changes import OUTPUT_LIMITS

Fields = Mapping[str, Any]
_FUNCTION_KEYS: Final = frozenset({"name", "description", "parameters", "strict"})
_DATA_URL: Final = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuser:
    """Makes the error for a field that cannot be sent: the field, the model, the reason, the fix."""

    api: str  # "OpenAI's chat completions"
    model: str
    takes_images: bool = True

    def error(self, key: str, why: str, way_out: str) -> ConfigError:
        """Return the error to raise."""
        return ConfigError(f"request.{key} cannot be sent to {self.model}: {why}. {way_out}")

    def unknown(self, key: str) -> ConfigError:
        """Return the error for a field that the API does not have."""
        why = f"{self.api} have no such field"
        return self.error(key, why, f'Leave it out; if this provider takes it, set provider.accepts = ["{key}"]')


def output_limit_of(body: Fields) -> int | None:
    """Return the limit of tokens of an answer, under any of its names; None where there is none."""
    wanted = next((body[name] for name in OUTPUT_LIMITS if body.get(name) is not None), None)
    return wanted if isinstance(wanted, int) and not isinstance(wanted, bool) else None


def messages_of(request: Fields, refuser: Refuser) -> list[dict[str, Any]]:
    """Return a request's messages; a `prompt` is one message of the user."""
    messages, prompt = request.get("messages"), request.get("prompt")
    if (messages is None) == (prompt is None):
        given = "neither" if prompt is None else "both"
        raise refuser.error("messages", f"either prompt or messages is needed, and {given} is given", "Give one")
    if prompt is not None:
        return [{"role": "user", "content": prompt}]
    if not isinstance(messages, Sequence) or not all(isinstance(message, Mapping) for message in messages):
        raise refuser.error("messages", "it is not a list of messages", 'Write [{"role": "user", "content": "…"}]')
    return [dict(message) for message in messages]


def messages_params(request: Fields, refuser: Refuser, accepts: Collection[str]) -> dict[str, Any]:
    """Return the parameters of the Messages API: a leading system message, stop and tools in its form, others as given.

    A field in `accepts` is not translated.
    """
    system, messages = _leading_system(messages_of(request, refuser))
    if system is not None and "system" in request:
        raise refuser.error("system", "messages begin with a system message, too", "Give one of them")
    if {"stop", "stop_sequences"} <= request.keys() - set(accepts):
        raise refuser.error("stop", "stop_sequences is given, too, and becomes the same field", "Give one of them")
    body: dict[str, Any] = {}
    for key, value in request.items():
        match key:
            case "prompt" | "messages":
                body |= {"messages": messages} | ({} if system is None else {"system": system})
            case "stop" if key not in accepts:
                body["stop_sequences"] = [value] if isinstance(value, str) else value
            case "tools":
                body["tools"] = anthropic_tools(value, refuser)
            case "tool_choice":
                body["tool_choice"] = anthropic_tool_choice(value)
            case _:
                body[key] = value
    return body


def _leading_system(given: list[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """Return a leading system message by itself, which the Messages API has as a parameter, and the other messages."""
    translated = [message | {"content": anthropic_content(message.get("content"))} for message in given]
    first = translated[0] if translated else {}
    if first.get("role") == "system" and isinstance(first["content"], str):
        return first["content"], translated[1:]
    return None, translated


def openai_tools(tools: Any, refuser: Refuser) -> list[dict[str, Any]]:
    """Return tools as `{type: "function", function: {name, description, parameters}}`; others unchanged."""
    return [
        {"type": "function", "function": _function(tool, refuser)} if _is_function(tool) else dict(tool)
        for tool in _objects(tools, "tools", refuser)
    ]


def responses_tools(tools: Any, refuser: Refuser) -> list[dict[str, Any]]:
    """Return tools as the Responses API has them: `{type: "function", name, parameters, strict}`; others as given."""
    return [
        {"type": "function", "parameters": None, "strict": False} | _function(tool, refuser)
        if _is_function(tool)
        else dict(tool)
        for tool in _objects(tools, "tools", refuser)
    ]


def anthropic_tools(tools: Any, refuser: Refuser) -> list[dict[str, Any]]:
    """Return tools as `{name, description, input_schema}`; others unchanged."""
    return [
        _renamed(_function(tool, refuser), "parameters", "input_schema") if "function" in tool else dict(tool)
        for tool in _objects(tools, "tools", refuser)
    ]


def _is_function(tool: Fields) -> bool:
    """Whether a tool is a function in Anthropic's or in OpenAI's form, and not one that the provider runs."""
    if tool.get("type", "custom") == "custom":
        return "input_schema" in tool
    return bool(tool["type"] == "function")


def _function(tool: Fields, refuser: Refuser) -> dict[str, Any]:
    inner = tool.get("function")
    function = inner if isinstance(inner, Mapping) else {key: tool[key] for key in tool if key != "type"}
    function = _renamed(function, "input_schema", "parameters")
    for key in function:
        if key not in _FUNCTION_KEYS:
            raise refuser.unknown(f"tools.{key}")
    return function


def _renamed(fields: Fields, before: str, after: str) -> dict[str, Any]:
    return {after if key == before else key: value for key, value in fields.items()}


def openai_tool_choice(choice: Any, refuser: Refuser) -> Any:
    """Return "auto", "none", "required", or `{type: "function", function: {name}}`."""
    named = _named_tool(choice)
    if named is not None:
        return {"type": "function", "function": {"name": named}}
    return _tool_mode(choice, refuser)


def responses_tool_choice(choice: Any, refuser: Refuser) -> Any:
    """Return "auto", "none", "required", or `{type: "function", name}`."""
    named = _named_tool(choice)
    return _tool_mode(choice, refuser) if named is None else {"type": "function", "name": named}


def anthropic_tool_choice(choice: Any) -> Any:
    """Return `{type: "auto" | "any" | "none"}` or `{type: "tool", name}`."""
    named = _named_tool(choice)
    if named is not None:
        return {"type": "tool", "name": named}
    if isinstance(choice, str):
        return {"type": {"required": "any"}.get(choice, choice)}
    return choice


def _named_tool(choice: Any) -> str | None:
    match choice:
        case {"type": "tool" | "function", "name": str() as name} | {"function": {"name": str() as name}}:
            return name
    return None


def _tool_mode(choice: Any, refuser: Refuser) -> Any:
    mode = choice.get("type") if isinstance(choice, Mapping) else choice
    if mode in ("auto", "none", "required", "any"):
        if isinstance(choice, Mapping) and choice.keys() - {"type", "disable_parallel_tool_use"}:
            raise refuser.error("tool_choice", f"{mode} takes no further keys", "Leave them out")
        return "required" if mode == "any" else mode
    if isinstance(choice, Mapping):  # the API's own: allowed_tools, a built-in tool
        return dict(choice)
    raise refuser.error("tool_choice", f"{choice!r} is not known", "Write auto, none, any, or a tool by its name")


def forbids_parallel_tools(choice: Any) -> bool:
    """Whether a tool choice in Anthropic's form forbids several calls at once."""
    return isinstance(choice, Mapping) and choice.get("disable_parallel_tool_use") is True


def openai_content(content: Any, place: str, refuser: Refuser) -> Any:
    """Return a message's content as a string or as OpenAI's parts."""
    if not isinstance(content, list | tuple):
        return content
    return [_openai_part(block, f"{place}[{number}]", refuser) for number, block in enumerate(content)]


def _openai_part(block: Any, place: str, refuser: Refuser) -> dict[str, Any]:
    if isinstance(block, Mapping) and block.get("type") in ("image", "image_url") and not refuser.takes_images:
        raise refuser.error(place, "this model takes no images", "Take one that does, such as gpt-5-mini")
    match block:
        case str():
            return {"type": "text", "text": block}
        case {"type": "text", "text": _, **others}:
            refuse_others(others, place, refuser)
            return dict(block)
        case {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}, **others}:
            refuse_others(others, place, refuser)
            return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
        case {"type": "image", "source": {"type": "url", "url": url}, **others}:
            refuse_others(others, place, refuser)
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "image_url" | "input_audio" | "file" | "refusal"}:
            return dict(block)
    kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
    known = "text, image, image_url, input_audio and file"
    raise refuser.error(place, f"a content block {kind!r} is not known to {refuser.api}", f"Known: {known}")


def refuse_others(others: Iterable[object], place: str, refuser: Refuser) -> None:
    """Refuse keys of a content block that the other form does not have."""
    for key in others:
        raise refuser.unknown(f"{place}.{key}")


def anthropic_content(content: Any) -> Any:
    """Return a message's content as a string or as Anthropic's blocks; blocks of other kinds stay as they are."""
    if not isinstance(content, list | tuple):
        return content
    return [_anthropic_block(part) for part in content]


def _anthropic_block(part: Any) -> Any:
    match part:
        case str():
            return {"type": "text", "text": part}
        case {"type": "image_url", "image_url": {"url": str() as url}} | {
            "type": "image_url",
            "image_url": str() as url,
        }:
            data = _DATA_URL.fullmatch(url)
            if data is None:
                return {"type": "image", "source": {"type": "url", "url": url}}
            return {"type": "image", "source": {"type": "base64", "media_type": data[1], "data": data[2]}}
    return part


def _objects(value: Any, key: str, refuser: Refuser) -> Sequence[Fields]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        raise refuser.error(key, "it is not a list of tables", "See docs/job-file.md")
    return value


def accepted_names(given: object) -> tuple[str, ...]:
    """Return the value of the option `accepts`. Raises ConfigError where it is not a list of names."""
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise ConfigError('[provider]: accepts must be a list of names of request fields, such as ["top_k"]')
    return tuple(given)
