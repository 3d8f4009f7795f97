"""Multipart uploads: the file is streamed to disk, the other fields are kept in memory.

Rule: only the piece of the file that was received last is in memory.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from orchestrator.gateway.intake import RequestRefused

FIELD_BYTES_MAX: Final = 4_096
FIELDS_MAX: Final = 32
FILE_FIELD: Final = "file"

# The client is told what is wrong with its body; the parser would also log it to the server's standard error.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class Upload:
    """The fields of an upload; `filename` is None if it had no file."""

    filename: str | None = None
    size_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)


async def receive_upload(chunks: AsyncIterator[bytes], content_type: str, path: Path, size_bytes_max: int) -> Upload:
    """Write the file of a multipart body to `path`; raise RequestRefused (400, 413) if it is not acceptable."""
    kind, parameters = _parsed(content_type)
    if kind != "multipart/form-data" or "boundary" not in parameters:
        raise RequestRefused(400, "the body must be multipart/form-data with a boundary")
    with path.open("wb") as file:
        parts = _Parts(file, size_bytes_max)
        try:
            parser = MultipartParser(parameters["boundary"], parts.callbacks())  # type: ignore[arg-type]
            async for chunk in chunks:
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise RequestRefused(400, f"not a multipart body: {error}") from error
    if not parts.has_ended:
        raise RequestRefused(400, "not a multipart body: it ends too early")
    return parts.upload


class _Parts:
    """The parser's callbacks."""

    def __init__(self, file: BinaryIO, size_bytes_max: int) -> None:
        self.upload = Upload()
        self.has_ended = False
        self._file = file
        self._size_bytes_max = size_bytes_max
        self._header, self._value = bytearray(), bytearray()
        self._disposition = ""
        self._name = ""
        self._is_file = False
        self._content = bytearray()

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished")
        return {f"on_{name}": getattr(self, name) for name in (*names, "part_data", "part_end", "end")}

    def part_begin(self) -> None:
        self._disposition, self._name, self._is_file = "", "", False
        self._content.clear()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = self._value.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        _, parameters = _parsed(self._disposition)
        self._name = parameters.get("name", "")
        self._is_file = self._name == FILE_FIELD and "filename" in parameters
        if self._is_file:
            if self.upload.filename is not None:
                raise RequestRefused(400, "more than one file")
            self.upload.filename = parameters["filename"]

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.upload.size_bytes += end - start
            if self.upload.size_bytes > self._size_bytes_max:
                raise RequestRefused(413, f"the file is larger than {self._size_bytes_max} bytes")
            self._file.write(data[start:end])
            return
        self._content += data[start:end]
        if len(self._content) > FIELD_BYTES_MAX:
            raise RequestRefused(400, f"a field is larger than {FIELD_BYTES_MAX} bytes")

    def part_end(self) -> None:
        if self._is_file:
            return
        if len(self.upload.fields) == FIELDS_MAX:
            raise RequestRefused(400, f"more than {FIELDS_MAX} fields")
        self.upload.fields[self._name] = self._content.decode("utf-8", "replace")

    def end(self) -> None:
        self.has_ended = True


def _parsed(header: str) -> tuple[str, dict[str, str]]:
    """Split a header into its value and its parameters, quotes and RFC 2231 forms undone."""
    message = Message()
    message["content-type"] = header
    (value, _), *rest = message.get_params(failobj=[("", "")], unquote=True)
    return value.lower(), {name.lower(): _text(each) for name, each in rest}


def _text(value: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(value, str):
        return value
    charset, _, text = value
    return text.encode("latin-1", "replace").decode(charset or "utf-8", "replace") if charset else text
