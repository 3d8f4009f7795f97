"""What a request asks, in the words of its last message: for a list of many rows, where whole requests do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

BODIES: Final = ("body", "params", "request", "modelInput")  # of a request line, by dialect
MESSAGES: Final = ("messages", "contents", "input", "prompt", "inputs", "content")
TEXTS: Final = ("text", "content", "parts")


def asked(line: bytes) -> str:
    """Return the text of a request line's last message; the line itself where there is none."""
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.decode(errors="replace").rstrip()
    body = next((request[name] for name in BODIES if isinstance(request.get(name), dict)), request)
    given = next((body[name] for name in MESSAGES if body.get(name)), None)
    last = given[-1] if isinstance(given, list) and given and isinstance(given[-1], dict) else given
    text = "\n".join(_texts(last))
    return text or orjson.dumps(body).decode()


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a message: it is one, or has blocks of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name in TEXTS:
            yield from _texts(value.get(name))
