"""Images of a dataset as content blocks: bytes, data URLs, URLs, and files beside the dataset.

Rule 1: what kind of image some bytes are is told by themselves, never by a name.
Rule 2: a file is read only below the folder of images: a row may come from a stranger. What is no image is not sent.
Rule 3: a message never holds a value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

ReadFile = Callable[[str], bytes]  # of the folder of images; raises NotAnImage
_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=\s]+)", re.IGNORECASE)
_MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
NO_IMAGE: Final = "holds no PNG, JPEG, GIF or WebP image"


class NotAnImage(ValueError):
    """A value is no image; the message says why, and follows `column 'x' `."""


def image_blocks(value: Any, read_file: ReadFile) -> Iterator[dict[str, Any]]:
    """Yield the blocks of a value: of one image, or of a list of them. Raises NotAnImage."""
    if isinstance(value, list):
        for one in value:
            yield from image_blocks(one, read_file)
        return
    yield {"type": "image", "source": _source(value, read_file)}


def _source(value: Any, read_file: ReadFile) -> dict[str, str]:
    match value:
        case bytes():
            return _encoded(value)
        case {"bytes": bytes() as content}:  # as Hugging Face stores them
            return _encoded(content)
        case {"path": str() as path} | str(path) if not path.lstrip().lower().startswith(("data:", "http:", "https:")):
            return _encoded(read_file(path))
        case str():
            return _of_url(value.strip())
    raise NotAnImage("is null" if value is None else NO_IMAGE)


def _of_url(url: str) -> dict[str, str]:
    if not url.lower().startswith("data:"):
        return {"type": "url", "url": url}
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise NotAnImage("holds a data URL that is not base64")
    try:
        return _encoded(base64.b64decode(found[2]))
    except ValueError:
        raise NotAnImage("holds a data URL that is not base64") from None


def _encoded(content: bytes) -> dict[str, str]:
    for magic, kind in _MAGIC:
        if magic.match(content):
            return {"type": "base64", "media_type": kind, "data": base64.b64encode(content).decode()}
    raise NotAnImage(NO_IMAGE)


def probe() -> Mapping[str, Any]:
    """Return a block that stands for any image, to ask whether a provider takes one."""
    return {"type": "image", "source": _encoded(b"\x89PNG\r\n\x1a\n")}
