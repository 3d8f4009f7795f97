"""Multipart uploads, parsed by Starlette: a large file is on disk while it arrives, and is then copied to its place."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from orchestrator.gateway.intake import RequestRefused

FIELD_BYTES_MAX: Final = 4_096
FIELDS_MAX: Final = 32
OVERHEAD_BYTES_MAX: Final = 256 * 1024  # of a body, beside its file
FILE_FIELD: Final = "file"

# The client is told what is wrong with its body; the parser would also log it to the server's standard error.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The fields of an upload; `filename` is None if it had no file."""

    filename: str | None = None
    size_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)


class _Parser(MultiPartParser):
    has_ended = False  # at the last boundary; Starlette does not ask

    def on_end(self) -> None:
        self.has_ended = True


async def receive_upload(request: Request, path: Path, size_bytes_max: int) -> Upload:
    """Write the file of a multipart body to `path`; raise RequestRefused (400, 413) if it is not acceptable."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RequestRefused(400, "the body must be multipart/form-data with a boundary")
    blocks = _limited(request.stream(), size_bytes_max)
    parser = _Parser(request.headers, blocks, max_files=1, max_fields=FIELDS_MAX, max_part_size=FIELD_BYTES_MAX)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestRefused(400, f"not a multipart body: {error.message}") from error
    try:
        if not parser.has_ended:
            raise RequestRefused(400, "not a multipart body: it ends too early")
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        file = form.get(FILE_FIELD)
        if not isinstance(file, UploadFile):
            return Upload(fields=fields)
        size_bytes = file.size or 0
        if size_bytes > size_bytes_max:
            raise _too_large(size_bytes_max)
        await asyncio.to_thread(_copy, file.file, path)
        return Upload(filename=file.filename, size_bytes=size_bytes, fields=fields)
    finally:
        await form.close()


async def _limited(blocks: AsyncIterator[bytes], size_bytes_max: int) -> AsyncGenerator[bytes, None]:
    left_bytes = size_bytes_max + OVERHEAD_BYTES_MAX
    async for block in blocks:
        left_bytes -= len(block)
        if left_bytes < 0:
            raise _too_large(size_bytes_max)
        yield block


def _too_large(size_bytes_max: int) -> RequestRefused:
    return RequestRefused(413, f"the file is larger than {size_bytes_max} bytes")


def _copy(file: Any, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file, target)
