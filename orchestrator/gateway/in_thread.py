"""The gateway in a thread of this process, on a free port of this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette

from orchestrator.gateway.app import create_app
from orchestrator.gateway.settings import Clock, GatewayConfig
from orchestrator.gateway.wire import CuttableProtocol

STOP_S_MAX: Final = 10.0


@contextmanager
def serving(config: GatewayConfig, clock: Clock | None = None) -> Iterator[tuple[str, Starlette]]:
    """Serve for the length of a block; give the server's URL, without a path, and the application."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)  # from now on connections wait until the server accepts them
        app = create_app(config, clock)
        try:
            with _running(app, listening):
                yield f"http://127.0.0.1:{listening.getsockname()[1]}", app
        finally:
            app.state.service.close()


@contextmanager
def _running(app: Starlette, listening: socket.socket) -> Iterator[None]:
    settings = uvicorn.Config(
        app, http=CuttableProtocol, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="gateway", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_S_MAX)
