"""Serves a worker's metrics over HTTP: of its process and, where it serves `control`, of the ledger.

Rule: a scrape that fails is answered with an error, and stops nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from orchestrator.api.viewer import Viewer
from orchestrator.domain.errors import ConfigError, LedgerError
from orchestrator.domain.queues import Queue

if TYPE_CHECKING:
    from collections.abc import Collection

    from orchestrator.engine.workspace import Workspace

PATH: Final = "/metrics"
STOP_S: Final = 0.2


@contextmanager
def exposed(workspace: Workspace, place: tuple[str, int] | None, queues: Collection[Queue]) -> Iterator[None]:
    """Serve the metrics of this process at a host and a port while a block runs; None: nowhere. Raises ConfigError."""
    if place is None:
        yield
        return
    from orchestrator.api.metrics import CONTENT_TYPE, metrics

    viewer = Viewer(workspace) if Queue.CONTROL in queues else None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(404, f"The metrics are at {PATH}\n".encode(), "text/plain")
                return
            try:
                self._answer(200, metrics(viewer), CONTENT_TYPE)
            except LedgerError as error:
                self._answer(503, f"{error}\n".encode(), "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing: a scrape comes every few seconds."""

    try:
        server = ThreadingHTTPServer(place, Handler)
    except OSError as error:
        host, port = place
        raise ConfigError(
            f"metrics cannot be served at {host}, port {port}: {error.strerror}. Give another --metrics-port; a worker "
            "without --queues takes three in a row"
        ) from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(STOP_S,), name="metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
