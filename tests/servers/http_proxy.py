"""An HTTP proxy as companies run them: it forwards `http://` requests and makes tunnels, all to one server of a test.

with running_http_proxy(server.port, user="u", password="p") as proxy:
    …                       # proxy.url, proxy.requests: the head of each request to the proxy itself

Rule: it sends everything to 127.0.0.1:`port`, whatever host it is asked for: so a test may use the names of real hosts.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Final

BLOCK_BYTES: Final = 65_536
TIMEOUT_S: Final = 20.0


class HttpProxy:
    """A proxy on 127.0.0.1. `instead` is sent in place of any answer; "": the connection is closed without one."""

    def __init__(
        self, port: int, *, credentials: str = "", instead: str | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[bytes] = []
        self._target = ("127.0.0.1", port)
        self._authorization = base64.b64encode(credentials.encode()) if credentials else b""
        self._instead = instead
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        at = f"{credentials}@" if credentials else ""
        self.url = f"http{'s' if context else ''}://{at}127.0.0.1:{self.port}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client:
            client.settimeout(TIMEOUT_S)
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            head, rest = self._head(client)
            self.requests.append(head)
            if self._authorization and b"Proxy-Authorization: Basic " + self._authorization not in head:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif self._instead is not None:
                client.sendall(self._instead.encode())
            else:
                self._pass_on(client, head, rest)

    def _pass_on(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        with socket.create_connection(self._target, timeout=TIMEOUT_S) as server:
            method, where, _ = head.split(b" ", 2)
            if method == b"CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = b"/" + where.split(b"/", 3)[3]
                server.sendall(head.replace(where, path, 1) + rest)
            while True:
                has_read_ahead = isinstance(client, ssl.SSLSocket) and client.pending()
                for one in [client] if has_read_ahead else select.select([client, server], [], [], TIMEOUT_S)[0]:
                    block = one.recv(BLOCK_BYTES)
                    if not block:
                        return
                    (server if one is client else client).sendall(block)

    def _head(self, client: socket.socket) -> tuple[bytes, bytes]:
        content = b""
        while b"\r\n\r\n" not in content:
            block = client.recv(BLOCK_BYTES)
            if not block:
                raise OSError
            content += block
        head, separator, rest = content.partition(b"\r\n\r\n")
        return head + separator, rest


@contextlib.contextmanager
def running_http_proxy(
    port: int, *, credentials: str = "", instead: str | None = None, context: ssl.SSLContext | None = None
) -> Iterator[HttpProxy]:
    """Run a proxy for the length of a block."""
    proxy = HttpProxy(port, credentials=credentials, instead=instead, context=context)
    try:
        yield proxy
    finally:
        proxy.close()
