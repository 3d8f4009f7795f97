"""Authentication of requests. A dialect chooses a scheme; the client applies it at the provider's own address only."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from orchestrator.providers.http.secret import Secret

Auth = httpx.Auth


class Bearer(httpx.Auth):
    """`Authorization: Bearer KEY`."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


class Header(httpx.Auth):
    """The key in a header of its own, such as `x-api-key`."""

    def __init__(self, name: str, key: Secret) -> None:
        self._name = name
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        request.headers[self._name] = self._key.reveal()
        yield request
