"""A real browser, and the page as a process serves it: what tests of both share."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from starlette.applications import Starlette

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
WIDTHS: Final = (1280, 390)
SCHEMES: Final = ("light", "dark")
# What the browser refuses is told to the page, too: whoever looks finds it there.
LISTEN: Final = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
"""


def chromium() -> str:
    """Return the path of this machine's Chromium; the test is skipped where there is none, and fails in a CI."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        missing = "no Chromium: install it (Debian: apt-get install -y --no-install-recommends chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@contextmanager
def some_browser() -> Iterator[Browser]:
    """Run a browser. Nothing is downloaded."""
    path = chromium()
    # In a container there is no sandbox for root, and little shared memory.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def served(app: Starlette, listening: socket.socket) -> Iterator[None]:
    """Serve an application in a thread, as `orchestrator ui` does."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Visitor:
    """Someone who looks at pages, and what the browser had to complain of."""

    browser: Browser
    address: str
    complaints: list[str] = field(default_factory=list)

    @contextmanager
    def page(self, token: str, **options: Any) -> Iterator[Page]:
        """Open the page with the address that `orchestrator ui` prints."""
        context = self.browser.new_context(**options)
        context.add_init_script(LISTEN)
        page = context.new_page()
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)
        page.goto(f"{self.address}/?token={token}")
        yield page
        context.close()

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(f"{self.address}/"):
            self.complaints.append(f"a request to {request.url}")
