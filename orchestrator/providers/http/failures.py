"""Converts the errors of an exchange to ours: what broke, and whether a byte of the request can have been sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx

from orchestrator.domain.errors import Unavailable
from orchestrator.providers.http.exchange import NotConnected
from orchestrator.providers.http.proxies import Proxy
from orchestrator.providers.http.secret import Secret, redacted

HTTPX_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError)
# Raised before a byte of the request is sent. Whatever is not listed may have come after.
NEVER_CONNECTED: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
PROXY_AUTHENTICATION: Final = 407  # an answer of the proxy alone
_OWN_CA: Final = (
    "Where a proxy or the provider has a certificate of a CA of its own, name that CA's file: ca_file in "
    "[provider], or SSL_CERT_FILE"
)
# The beginnings of h11's own sentences about a cut connection: they quote nothing that was received.
_CUT: Final = ("Server disconnected", "peer closed connection", "peer unexpectedly closed connection")
_PHRASES: Final[Mapping[type[Exception], str]] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.ConnectError: "no connection",
    httpx.PoolTimeout: "no free connection in time",
    httpx.ProxyError: "the proxy made no connection",
    httpx.ReadTimeout: "no answer in time",
    httpx.WriteTimeout: "the request was not taken in time",
    httpx.RemoteProtocolError: "the connection ended, or spoke no HTTP, before the answer was whole",
}


def unavailable(error: Exception, key: Secret, *, is_late: bool, proxy: Proxy | None = None) -> Unavailable:
    """Return our error for one of HTTPX_ERRORS; it has no reference to that one, which has the key.

    Args:
        is_late: the deadline of the whole exchange has passed.
        proxy: what the exchange went through.
    """
    phrase = _PHRASES.get(type(error), "the exchange broke")
    if is_late:
        phrase = "the deadline of the whole exchange passed"
    kind = NotConnected if isinstance(error, NEVER_CONNECTED) else Unavailable
    if proxy is not None:
        phrase += f", by way of the proxy {proxy.place}"
    provider_message = redacted(f"{phrase} ({type(error).__name__}: {error})", key)
    if isinstance(error, httpx.ProxyError) and str(error).startswith(str(PROXY_AUTHENTICATION)) and proxy:
        return kind(f"{PROXY_AUTHENTICATION} {proxy_refuses(proxy)}")
    if "CERTIFICATE_VERIFY_FAILED" in provider_message:
        return kind(f"{provider_message}. {_OWN_CA}")
    if isinstance(error, httpx.ProtocolError) and str(error).startswith(_CUT):
        cut = "the connection was cut" + ("" if proxy is None else f", by way of the proxy {proxy.place}")
        return kind(redacted(f"{cut} ({type(error).__name__}: {error})", key))
    if isinstance(error, httpx.ProtocolError):  # it quotes what was received, which may be anything
        return kind(f"{phrase} ({type(error).__name__})", provider_message=provider_message)
    return kind(provider_message)


def proxy_refuses(proxy: Proxy) -> str:
    """Return why a proxy makes no connection that wants a password, and what to do."""
    return (
        f"of the proxy {proxy.place}: it wants a user name and a password (http://user:password@…) in {proxy.named_by}"
    )
