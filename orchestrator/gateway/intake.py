"""The body of a create in OneRouter's dialect: streamed to disk, then checked without building it in memory.

Rule: a refused body creates nothing and leaves no file.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class RequestRefused(Exception):
    """The client's request is refused; `status` is both the HTTP status and the code in the envelope."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Row(msgspec.Struct):
    """One request of a create; `params` stays as the bytes that were received."""

    custom_id: NonEmpty
    params: msgspec.Raw


class Body(msgspec.Struct):
    """The body of a create; OneRouter documents no other top-level key, and others are ignored."""

    requests: list[Row]


class ParamsHead(msgspec.Struct):
    """The part of `params` that is checked when the batch is created."""

    model: NonEmpty


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBody:
    """What the store records of a body that was accepted."""

    digest: str  # sha256 of the received bytes, hex
    size_bytes: int
    total: int
    model: str
    first_custom_id: str
    last_custom_id: str


_body_decoder = msgspec.json.Decoder(Body)
_head_decoder = msgspec.json.Decoder(ParamsHead)


async def receive_body(chunks: AsyncIterator[bytes], path: Path, size_bytes_max: int) -> None:
    """Write a body to `path`; raise RequestRefused(413) if it is too large."""
    size_bytes = 0
    with path.open("wb") as file:
        async for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > size_bytes_max:
                # uvicorn reads and drops the rest, so that the client sees the 413 instead of a reset.
                raise RequestRefused(413, f"the body is larger than {size_bytes_max} bytes")
            file.write(chunk)


def check_body(path: Path, *, requests_max: int, accepts_duplicates: bool) -> CheckedBody:
    """Check a received body; raise RequestRefused (400, 413) that says what is wrong without repeating its contents."""
    rows = read_rows(path)
    if not rows:
        raise RequestRefused(400, "requests: must not be empty")
    if len(rows) > requests_max:
        raise RequestRefused(413, f"{len(rows)} requests, at most {requests_max} are allowed")
    seen: set[str] = set()
    for row_no, row in enumerate(rows):
        if row.custom_id in seen and not accepts_duplicates:
            raise RequestRefused(400, f"requests.{row_no}.custom_id: duplicate of an earlier one")
        seen.add(row.custom_id)
        try:
            _head_decoder.decode(row.params)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestRefused(400, f"requests.{row_no}.params: {error}") from error
    return checked_body(path, rows, model=_head_decoder.decode(rows[0].params).model)


def checked_body(path: Path, rows: Sequence[Row], *, model: str) -> CheckedBody:
    """Return what is recorded of a body whose rows were checked."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return CheckedBody(
        digest=digest,
        size_bytes=path.stat().st_size,
        total=len(rows),
        model=model,
        first_custom_id=rows[0].custom_id,
        last_custom_id=rows[-1].custom_id,
    )


def read_rows(path: Path) -> Sequence[Row]:
    """Return the rows of a body; their params point into the mapped file. Raises RequestRefused otherwise."""
    if path.stat().st_size == 0:
        raise RequestRefused(400, "the body is empty, JSON is expected")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _body_decoder.decode(content).requests
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefused(400, f"not a create request: {error}") from error
    except RecursionError as error:
        raise RequestRefused(400, "not a create request: nested too deeply") from error
