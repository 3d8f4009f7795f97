"""The sockets under httpx: a transport whose operations all end by the exchange's deadline.

httpx cannot pass a network backend to its own transport, but httpcore accepts one: so this transport calls httpcore
directly. It maps httpcore's errors to httpx's, as httpx's own transport does.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore
import httpx

from orchestrator.providers.http.exchange import Rules
from orchestrator.providers.http.proxies import Proxy

_WRITE_BYTES_MAX: Final = 1 << 16  # of one socket write: httpcore's own loop is quadratic in what it is given
_CONNECTIONS_MAX: Final = 64
_IDLE_CONNECTIONS_MAX: Final = 16
_IDLE_S_MAX: Final = 20.0
# The most specific first: an error is mapped to the first of these that it is an instance of.
_ERRORS: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.TimeoutException, httpx.TimeoutException),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.NetworkError, httpx.NetworkError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.ProtocolError, httpx.ProtocolError),
)


class TimedTransport(httpx.BaseTransport):
    """Pools of connections, one for each proxy, under the limits of the exchange that uses them."""

    def __init__(self, rules: Rules, ssl_context: ssl.SSLContext) -> None:
        self._backend = _TimedBackend(rules)
        self._ssl_context = ssl_context
        self._pools: dict[Proxy | None, httpcore.ConnectionPool] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response, whose body is read as it is asked for."""
        url, extensions = request.url, dict(request.extensions)
        # httpcore would use an extension "target" for what it says to the proxy as well.
        target = extensions.pop("target", url.raw_path)
        with _as_httpx_errors():
            response = self._pool(extensions.pop("proxy", None)).handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, proxy: Proxy | None) -> httpcore.ConnectionPool:
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: Proxy | None) -> httpcore.ConnectionPool:
        limits: dict[str, Any] = {
            "ssl_context": self._ssl_context,
            "max_connections": _CONNECTIONS_MAX,
            "max_keepalive_connections": _IDLE_CONNECTIONS_MAX,
            "keepalive_expiry": _IDLE_S_MAX,
            "network_backend": self._backend,
        }
        if proxy is None:
            return httpcore.ConnectionPool(**limits)
        user, _, password = proxy.credentials.partition(b":")
        return httpcore.HTTPProxy(
            proxy_url=proxy.place,
            proxy_auth=(user, password) if proxy.credentials else None,
            proxy_ssl_context=self._ssl_context if proxy.scheme == "https" else None,
            **limits,
        )


class _ResponseStream(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


@contextmanager
def _as_httpx_errors() -> Generator[None]:
    try:
        yield
    except tuple(theirs for theirs, _ in _ERRORS) as error:
        raise next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))(str(error)) from error


class _TimedBackend(httpcore.NetworkBackend):
    """Sockets under the limits of the exchange that uses them."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect; only to the checked addresses, if the exchange has any."""
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._rules.dialled(host):
            left_s = self._rules.left_s(timeout, httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(address, port, left_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._rules)
        raise failure or httpcore.ConnectError("no address that was checked")


class _TimedStream(httpcore.NetworkStream):
    """A socket whose operations all end by the exchange's deadline."""

    def __init__(self, inner: httpcore.NetworkStream, rules: Rules) -> None:
        self._inner = inner
        self._rules = rules

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._rules.left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES_MAX):
            left_s = self._rules.left_s(timeout, httpcore.WriteTimeout)
            self._inner.write(buffer[start : start + _WRITE_BYTES_MAX], left_s)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._rules.left_s(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._rules)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
