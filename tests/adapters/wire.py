"""Servers that answer as told, byte for byte, and remember what they were sent: over real sockets, or without any.

with serving(saying(answer(200, b"{}"))) as server:
    …                       # server.url, server.requests, server.connection_count
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import httpx
import orjson

from orchestrator.domain.batch import BatchStatus, Submission
from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, OrchestratorError
from orchestrator.domain.model import BatchId
from orchestrator.ports import Provider

LISTEN_TIMEOUT_S: Final = 0.05
READ_TIMEOUT_S: Final = 20.0
DRIP_EVERY_S: Final = 0.02

Play = Callable[["Connection"], None]


class Connection:
    """One accepted connection, after a request was read from it."""

    def __init__(self, sock: socket.socket, stopped: threading.Event, request: bytes) -> None:
        self.socket = sock
        self.stopped = stopped
        self.request = request

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def drip(self, content: bytes = b"x") -> None:
        """Send one byte after the other, for as long as anybody takes them."""
        with contextlib.suppress(OSError):
            while not self.stopped.wait(DRIP_EVERY_S):
                self.socket.sendall(content)


class WireServer:
    """A server on 127.0.0.1; each request is kept raw, and answered by `play`."""

    def __init__(self, play: Play, *, context: ssl.SSLContext | None = None, reads_body: bool = True) -> None:
        self.requests: list[bytes] = []
        self.connection_count = 0
        self._play = play
        self._context = context
        self._reads_body = reads_body
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LISTEN_TIMEOUT_S)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(READ_TIMEOUT_S)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connection_count += 1
            self._threads.append(threading.Thread(target=self._serve, args=(sock,), daemon=True))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.ExitStack() as closing, contextlib.suppress(OSError):
            closing.enter_context(sock)
            if self._context is not None:
                sock = closing.enter_context(self._context.wrap_socket(sock, server_side=True))
            sock.settimeout(LISTEN_TIMEOUT_S)
            while (request := self._read(sock)) is not None:
                self.requests.append(request)
                sock.settimeout(READ_TIMEOUT_S)
                self._play(Connection(sock, self._stopped, request))
                sock.settimeout(LISTEN_TIMEOUT_S)

    def _read(self, sock: socket.socket) -> bytes | None:
        content = b""
        while not self._is_whole(content):
            try:
                block = sock.recv(1 << 16)
            except TimeoutError:
                if self._stopped.is_set():
                    return None
                continue
            if not block:
                return None
            content += block
        return content

    def _is_whole(self, content: bytes) -> bool:
        head, separator, body = content.partition(b"\r\n\r\n")
        length = header(head, b"content-length")
        return bool(separator) and (not self._reads_body or len(body) >= int(length or b"0"))


@contextlib.contextmanager
def serving(play: Play, *, context: ssl.SSLContext | None = None, reads_body: bool = True) -> Iterator[WireServer]:
    """Run a server until the block ends."""
    server = WireServer(play, context=context, reads_body=reads_body)
    try:
        yield server
    finally:
        server.close()


def header(head: bytes, name: bytes) -> bytes | None:
    """Return a header of a raw request."""
    for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def target(request: bytes) -> bytes:
    """Return the path and query of a raw request."""
    return request.split(b" ", 2)[1]


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return a raw answer with a Content-Length; `retry_after="1"` is a Retry-After header."""
    lines = [f"HTTP/1.1 {status} Said"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in ({"content_length": len(body)} | headers).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def saying(*answers: bytes) -> Play:
    """Answer with these, one a request, and with the last one from then on."""
    left = list(answers)

    def play(connection: Connection) -> None:
        connection.send(left.pop(0) if len(left) > 1 else left[0])

    return play


def saying_last(content: bytes) -> Play:
    """Send this and close the connection."""

    def play(connection: Connection) -> None:
        connection.send(content)
        connection.socket.shutdown(socket.SHUT_RDWR)

    return play


class Answers(httpx.BaseTransport):
    """No network: each request is kept, and answered by the next of `answers`, the last one again and again."""

    def __init__(self, *answers: tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._left = list(answers)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        provider_message = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if isinstance(provider_message, Exception):
            raise provider_message
        status, body, headers = (*provider_message, {})[:3]
        framed = {"content-length": str(len(body))} | headers
        return httpx.Response(status, headers=framed, stream=httpx.ByteStream(body))


Account = Callable[..., contextlib.AbstractContextManager[Provider]]  # opened at a `transport`


def create_at(
    account: Account, submission: Submission, status: int, content: object, headers: Mapping[str, str]
) -> BatchId | OrchestratorError:
    """Create against one answer, asked for once, and return what came of it."""
    transport = Answers((status, as_body(content), dict(headers)))
    with account(transport=transport) as provider:
        try:
            return provider.create(submission)
        except (CreateRefused, CreateAmbiguous) as failure:
            return failure
        finally:
            assert len(transport.requests) == 1


def poll_at(account: Account, batch_id: BatchId, status: int, content: object) -> BatchStatus:
    """Poll against one answer."""
    with account(transport=Answers((status, as_body(content)))) as provider:
        return provider.status(batch_id)


def as_body(content: object) -> bytes:
    """Return bytes as they are, and anything else as JSON."""
    return content if isinstance(content, bytes) else orjson.dumps(content)
