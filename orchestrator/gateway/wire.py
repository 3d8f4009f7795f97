"""Answers over a bad network: lost, late, cut or slow.

ASGI has no message for closing a connection, so the server's protocol class puts itself into the request's scope. When
the application is called in process there is none, and an answer that should be lost raises AnswerLost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.gateway.faults import CreateFaults, Fault, RouteFaults, StatusFaults
from orchestrator.gateway.settings import Clock

EXTENSION: Final = "gateway.connection"
CHUNK_BYTES: Final = 256 * 1024
SLOW_CHUNKS_PER_S: Final = 10


class AnswerLost(Exception):
    """The fault plan loses this answer, and there is no connection to cut."""


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's protocol with two more abilities: to close the connection, and to omit the length of a body."""

    has_no_answer = False  # of the present request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]

    def shutdown(self) -> None:
        """Begin the server's shutdown; a request without an answer must not delay it, nor get uvicorn's 500."""
        if self.has_no_answer:
            self.cut()
        super().shutdown()

    @property
    def is_gone(self) -> bool:
        """Whether the client has disconnected; uvicorn accepts and drops what is sent afterwards."""
        return self.cycle.disconnected

    def cut(self) -> None:
        """Close the connection after sending what was written."""
        self.transport.close()

    def end_by_closing(self, size_bytes: int) -> None:
        """Send the next body, of `size_bytes`, without a length: it ends when the connection is closed."""
        self.cycle.chunked_encoding = False
        self.cycle.expected_content_length = size_bytes


class LostAnswer(Response):
    """No answer: silence for `hang_s`, then a cut connection."""

    def __init__(self, clock: Clock, hang_s: float = 0.0) -> None:
        super().__init__()
        self.clock = clock
        self.hang_s = hang_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - it sends nothing
        connection = scope.get("extensions", {}).get(EXTENSION)
        gone = asyncio.ensure_future(_until_gone(receive))
        hanging = asyncio.ensure_future(self.clock.sleep(self.hang_s))
        if connection is not None:
            connection.has_no_answer = True
        await asyncio.wait({gone, hanging}, return_when=asyncio.FIRST_COMPLETED)
        hanging.cancel()
        if connection is None:
            gone.cancel()
            raise AnswerLost
        connection.cut()
        await gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a result file is sent; it is whole if `cut_at` is None."""

    cut_at: float | None = None
    is_announced: bool = True  # with a Content-Length
    bytes_per_s: int = 0


class FileAnswer(Response):
    """A result file, sent in pieces; `when_whole` is called before the last piece of a whole one is sent."""

    media_type = "application/jsonl"

    def __init__(self, path: Path, delivery: Delivery, clock: Clock, when_whole: Callable[[], Awaitable[None]]) -> None:
        self.path = path
        self.delivery = delivery
        self.clock = clock
        self.when_whole = when_whole
        self.size_bytes = path.stat().st_size
        super().__init__()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get("extensions", {}).get(EXTENSION)
        cut_at = self.delivery.cut_at
        sent_bytes = self.size_bytes if cut_at is None else int(self.size_bytes * cut_at)
        headers = [(b"content-type", b"application/jsonl")]
        if self.delivery.is_announced:
            headers.append((b"content-length", str(self.size_bytes).encode()))
        else:
            headers.append((b"connection", b"close"))
            if connection is not None:
                connection.end_by_closing(sent_bytes)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with self.path.open("rb") as file:
            await self._send_pieces(file, sent_bytes, send, connection)
        if self.delivery.cut_at is None or not self.delivery.is_announced:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif connection is None:
            raise AnswerLost
        else:
            connection.cut()
            await _until_gone(receive)

    async def _send_pieces(
        self, file: BinaryIO, sent_bytes: int, send: Send, connection: CuttableProtocol | None
    ) -> None:
        rate = self.delivery.bytes_per_s
        piece_bytes = min(CHUNK_BYTES, max(1, rate // SLOW_CHUNKS_PER_S)) if rate else CHUNK_BYTES
        left_bytes = sent_bytes
        while True:
            piece = await asyncio.to_thread(file.read, min(piece_bytes, left_bytes))
            left_bytes -= len(piece)
            if rate and piece:
                await self.clock.sleep(len(piece) / rate)
            if connection is not None and connection.is_gone:
                return
            if left_bytes == 0 and self.delivery.cut_at is None:
                # Before the last bytes are sent: a client that has them all must find that in the bill.
                await self.when_whole()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if left_bytes == 0:
                return


def fault_answer(
    fault: Fault,
    table: CreateFaults | StatusFaults | RouteFaults,
    clock: Clock,
    error: Callable[[int, str, str | None], dict[str, Any]],
    answered: Callable[[dict[str, Any], int], Response],
) -> Response:
    """Return the answer under a fault; `error` makes the dialect's envelope, `answered` the response to send."""
    message = table.message or f"simulated fault: {fault.name}"
    match fault.name, table:
        case (("lost" | "late"), _):
            return LostAnswer(clock)
        case "hang", CreateFaults() | RouteFaults():
            return LostAnswer(clock, table.hang_s)
        case "error_body", CreateFaults() | StatusFaults():
            return answered(error(table.body_code, message, None), 200)
        case "code_body", CreateFaults() | StatusFaults():
            return answered({"code": table.body_code, "message": message}, 200)
    answer = answered(error(fault.status, message, table.code or None), fault.status)
    if fault.name == "refuse" and table.retry_after_s is not None:
        answer.headers["retry-after"] = f"{table.retry_after_s:g}"
    return answer


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
