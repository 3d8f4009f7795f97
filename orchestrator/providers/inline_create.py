"""A create whose body holds the requests themselves: `{"requests": [line, line, …]}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orchestrator.domain.batch import Submission
from orchestrator.domain.errors import StorageError
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.error_mapping import Answer

_OPEN: Final = b'{"requests":['
_CLOSE: Final = b"]}"


def inline_create(http: HttpClient, path: str, submission: Submission) -> Answer:
    """Send the one POST of an attempt, its requests streamed. Raises as `HttpClient.create` does."""
    size_bytes = len(_OPEN) + submission.size_bytes - 1 + len(_CLOSE)
    return http.create(path, enveloped(submission.blocks()), size_bytes=size_bytes)


def enveloped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Convert request lines into the body of a create: newlines, which JSON never contains raw, become commas.

    It yields only after the first block was read: a file that cannot be read must fail before there is a connection.
    Raises StorageError where the lines do not end in a newline.
    """
    held = _OPEN
    for block in blocks:
        if block:
            yield held
            held = block.replace(b"\n", b",")
    if not held.endswith(b","):
        raise StorageError("the file of requests is empty, or its last line has no end")
    yield held[:-1] + _CLOSE
