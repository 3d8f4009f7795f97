"""A network that fails on command: a TCP proxy between a client and a server, in a thread of this process.

    PASS         bytes go through, after `delay_s`
    BLACK_HOLE   new connections are accepted and nobody answers; open ones fall silent, and nobody closes them

Rule: a connection that has once been in a black hole never comes back, nor does the other side hear that it was closed:
what a router does that has lost its table. Only connections made after the healing work again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from enum import Enum
from typing import Any, Final, TypeVar

T = TypeVar("T")
BLOCK_BYTES: Final = 65_536
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of no time at all: close() sends RST


class Mode(Enum):
    """What the proxy does to what it is given."""

    PASS = "pass"
    BLACK_HOLE = "black hole"


class _Link:
    """A client's connection and the server's, and whether the network still knows of them."""

    def __init__(self, client: asyncio.StreamWriter, *, is_lost: bool) -> None:
        self.ends = [client]
        self.is_lost = is_lost


class FaultProxy:
    """Listens on `host`:`port` and passes on to `target`: (host, port), or the path of a Unix socket."""

    def __init__(self, target: tuple[str, int] | str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.target = target
        self.host, self.port = host, port
        self.delay_s = 0.0
        self._mode = Mode.PASS
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._server = self._in_loop(asyncio.start_server(self._serve, self.host, self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def black_hole(self) -> None:
        """Swallow everything: what is open now is lost for good."""
        self._in_loop(self._lose())

    def heal(self) -> None:
        """Pass on what is opened from now on."""
        self._mode = Mode.PASS

    def cut(self) -> None:
        """Reset every open connection, on both sides."""
        self._in_loop(self._cut())

    def close(self) -> None:
        """Stop listening and close everything."""
        self._in_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _lose(self) -> None:
        self._mode = Mode.BLACK_HOLE
        for link in self._links:
            link.is_lost = True

    async def _cut(self) -> None:
        for end in [end for link in self._links for end in link.ends]:
            _reset(end)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(writer, is_lost=self._mode is Mode.BLACK_HOLE)
        self._links.add(link)
        try:
            if link.is_lost:
                await self._swallow(reader)
            else:
                await self._join(link, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._links.discard(link)
            for end in link.ends:
                end.close()

    async def _join(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self.target, str):
                far_reader, far_writer = await asyncio.open_unix_connection(self.target)
            else:
                far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:  # nobody there: the client hears what it would have heard from the host itself
            _reset(writer)
            return
        link.ends.append(far_writer)
        await asyncio.gather(
            self._pump(link, reader, far_writer), self._pump(link, far_reader, writer), return_exceptions=True
        )

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while block := await source.read(BLOCK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if link.is_lost:
                    break
                sink.write(block)
                await sink.drain()
        except OSError:  # this side was reset
            if not link.is_lost:
                sink.transport.abort()
            return
        if link.is_lost:
            await self._swallow(source)
        elif not sink.is_closing():
            sink.close()

    async def _swallow(self, source: asyncio.StreamReader) -> None:
        """Read what comes and tell nobody, nor that it has ended: the other side's end stays open."""
        with contextlib.suppress(OSError):
            while await source.read(BLOCK_BYTES):
                pass


def _reset(end: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # closed already
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.transport.abort()


@contextlib.contextmanager
def running_proxy(target: tuple[str, int] | str, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[FaultProxy]:
    """Run a proxy for the length of a block."""
    proxy = FaultProxy(target, host=host, port=port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
