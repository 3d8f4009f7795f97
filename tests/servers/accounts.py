"""One address, several accounts: a door that leads each key to a server of its own.

Rule: a connection belongs to the key of its first request, as one process of ours has one key. The servers all know
one key, their own: the client's is put in its place on the way.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Final

BLOCK_BYTES: Final = 65_536
_KEY: Final = re.compile(rb"(?i)(authorization: bearer )([!-~]+)")


class Door:
    """Listens on this machine; `leads` says which key leads to which port."""

    def __init__(self, leads: Mapping[str, int], server_key: str) -> None:
        self._leads = {key.encode(): port for key, port in leads.items()}
        self._server_key = server_key.encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more, and put everybody out."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = b""
            while (found := _KEY.search(first)) is None:
                block = client.recv(BLOCK_BYTES)
                if not block:
                    return
                first += block
            with socket.create_connection(("127.0.0.1", self._leads[found[2]])) as server:
                self._open.append(server)
                threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()
                block = first
                while block:
                    server.sendall(_KEY.sub(rb"\1" + self._server_key, block))
                    block = client.recv(BLOCK_BYTES)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(BLOCK_BYTES):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def door(leads: Mapping[str, int], server_key: str) -> Iterator[Door]:
    """Keep a door open for the length of a block."""
    opened = Door(leads, server_key)
    try:
        yield opened
    finally:
        opened.close()
