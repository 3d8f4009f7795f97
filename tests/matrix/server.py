"""A raw server on loopback that answers one endpoint as a fault says and all others well, and counts what it read.

Rule: one server serves all cells of a process, one after the other; `stage` says what holds from now on.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

READ_S: Final = 20.0
DRIP_EVERY_S: Final = 0.02
RESET: Final = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST, not FIN

# "POST /v1/batches" (a pattern of the whole line) -> a good answer's body, or what makes it of the lines read so far
Answers = Mapping[str, bytes | Callable[[Sequence[str]], bytes]]


class Wire:
    """One connection, as a fault's play sees it."""

    def __init__(self, sock: socket.socket, url: str, cell: Cell) -> None:
        self.socket = sock
        self.url = url  # of this server
        self._cell = cell

    def send(self, *contents: bytes) -> None:
        for content in contents:
            self.socket.sendall(content)

    def drip(self, content: bytes) -> None:
        """Send it again and again, a little at a time, until nobody takes it or the cell is over."""
        while not self._cell.over.wait(DRIP_EVERY_S):
            self.socket.sendall(content)

    def hold(self) -> None:
        """Say nothing until the cell is over."""
        self._cell.over.wait(READ_S)

    def reset(self) -> None:
        """Break the connection off."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()


Play = Callable[[Wire, bytes], None]  # the connection, and the body of the good answer


@dataclass(slots=True, kw_only=True)
class Cell:
    """What holds for one cell of the matrix."""

    answers: Answers
    target: str = ""  # the key in `answers` that is answered by `play`
    play: Play | None = None
    before_reading: bool = False  # `play` is for the connection, before anything is read from it
    closes: bool = False  # the connection ends with the answer
    context: ssl.SSLContext | None = None
    over: threading.Event = field(default_factory=threading.Event)
    read: list[str] = field(default_factory=list)  # the first line of each request that was read whole


class MatrixServer:
    """Listens until closed."""

    def __init__(self) -> None:
        self.cell = Cell(answers={})
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # The same server under another origin: where results lie, the key is not sent to.
        self._other = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.other_port: int = self._other.getsockname()[1]
        self.other_url = f"http://127.0.0.1:{self.other_port}"
        # Bound, and listening to nobody: no other program can take the port meanwhile.
        self._deaf = socket.socket()
        self._deaf.bind(("127.0.0.1", 0))
        self.refused_url = f"http://127.0.0.1:{self._deaf.getsockname()[1]}"
        for listener in (self._listener, self._other):
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stage(self, cell: Cell) -> None:
        """Let this hold from now on, and end what still drips for the cell before."""
        self.cell.over.set()
        self.cell = cell

    def close(self) -> None:
        self.cell.over.set()
        self._listener.close()
        self._other.close()
        self._deaf.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._serve, args=(sock, self.cell), daemon=True).start()

    def _serve(self, sock: socket.socket, cell: Cell) -> None:
        with contextlib.ExitStack() as closing:
            closing.enter_context(contextlib.suppress(OSError))  # the client has left
            closing.enter_context(sock)
            sock.settimeout(READ_S)
            if cell.context is not None:
                sock = closing.enter_context(cell.context.wrap_socket(sock, server_side=True))
            if cell.before_reading and cell.play is not None:
                cell.play(Wire(sock, self.url, cell), b"")
                return
            # A client may keep its connection over a change of cells: what holds is what holds now.
            while (line := _request_line(sock)) and self._answer(sock, line, self.cell):
                pass

    def _answer(self, sock: socket.socket, line: str, cell: Cell) -> bool:
        """Answer a request; return whether another one may follow."""
        cell.read.append(line)
        wire = Wire(sock, self.url, cell)
        key = next((key for key in cell.answers if re.fullmatch(key, line)), None)
        if key is None:
            wire.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            return True
        made = cell.answers[key]
        good = made if isinstance(made, bytes) else made(cell.read)
        if key == cell.target and cell.play is not None:
            cell.play(wire, good)
            # A connection that both think is open may be used again: whether it is, must not hang on who is quicker.
            return not cell.closes
        wire.send(framed(200, good))
        return True


def framed(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    """Return a raw answer with its length."""
    lines = [b"HTTP/1.1 %d Said" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _request_line(sock: socket.socket) -> str:
    """Read one request, to the end of its body; return its method and path; "" where there is none."""
    content = b""
    while b"\r\n\r\n" not in content:
        block = sock.recv(1 << 16)
        if not block:
            return ""
        content += block
    head, _, body = content.partition(b"\r\n\r\n")
    length = re.search(rb"\ncontent-length: *(\d+)", head.lower())
    left = (int(length[1]) if length else 0) - len(body)
    while left > 0:
        block = sock.recv(1 << 16)
        if not block:
            return ""
        left -= len(block)
    return " ".join(head.split(b"\r\n")[0].decode("latin-1").split(" ")[:2])
