"""One account's HTTP client: every exchange with a provider goes through it, and it raises only our own errors.

Rule 1: no request is repeated, only a GET follows a redirect, TLS is always verified; the environment is not read here:
    what it says of proxies and certificates is in `Connection`.
Rule 2: every exchange has a deadline as a whole. httpx's own timeouts are for one read or one write, and a server that
    sends a byte a second never exceeds them; so the socket operations are timed (`TimedTransport`).
Rule 3: a create is sent on a fresh connection: the commonest cause of an ambiguous create is a server that closes an
    idle connection.
Rule 4: an httpx error refers to the request, and the request to the key: our error is raised outside the `except`
    block, so that it has no reference to httpx's.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import metadata
from itertools import chain
from typing import Final

import httpx

from orchestrator import telemetry
from orchestrator.domain.errors import (
    ConfigError,
    CreateAmbiguous,
    CreateRefused,
    StorageError,
    Unavailable,
)
from orchestrator.providers.http import url_policy
from orchestrator.providers.http.auth import Auth, Bearer
from orchestrator.providers.http.connection import Connection
from orchestrator.providers.http.decoding import decoded, unpacked, whole_lines
from orchestrator.providers.http.error_mapping import Answer
from orchestrator.providers.http.exchange import (
    Body,
    Download,
    NotConnected,
    Pinned,
    Rules,
    Sent,
    Timeouts,
    check_behind_proxy,
    pin,
)
from orchestrator.providers.http.failures import HTTPX_ERRORS, PROXY_AUTHENTICATION, proxy_refuses, unavailable
from orchestrator.providers.http.proxies import Proxy
from orchestrator.providers.http.secret import Secret, redacted
from orchestrator.providers.http.transport import TimedTransport
from orchestrator.providers.http.url_policy import Destination, Origin

USER_AGENT: Final = f"batch-orchestrator/{metadata.version('batch-orchestrator')}"
ANSWER_BYTES_MAX: Final = 1 << 20
REDIRECTS_MAX: Final = 5

# They log URLs, and a result URL may be signed.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class HttpClient:
    """One account's client. It may be shared by threads, and survives a fork."""

    def __init__(
        self,
        base_url: str,
        key: Secret,
        *,
        timeouts: Timeouts | None = None,
        auth: Auth | None = None,
        connection: Connection | None = None,
        transport: httpx.BaseTransport | None = None,
        name: str = "other",
    ) -> None:
        """Check the settings; nothing is connected yet. Raises ConfigError.

        Args:
            auth: how requests show the key; the default is a bearer token.
            connection: proxies, certificates, further headers and query parameters; the default is none of them.
            transport: for tests, replaces the network, including the name server.
            name: of the provider, for metrics and traces.
        """
        self._base = url_policy.base_of(base_url)
        self._name = name
        self.key = key
        self.timeouts = timeouts or Timeouts()
        self._auth = auth or Bearer(key)
        self._connection = connection or Connection()
        self._ssl_context = _ssl_context(
            self._connection.ca_file, self._connection.ca_folder, self._connection.ca_named_by
        )
        self._transport = transport
        self._rules = Rules()
        self._lock = threading.Lock()
        self._shared: tuple[int, httpx.Client] | None = None

    @property
    def origin(self) -> Origin:
        """The only origin that the key is sent to."""
        return self._base.origin

    @property
    def key_mark(self) -> str:
        """A fingerprint of this key at this origin; see `Secret.mark`."""
        base = self._base
        return self.key.mark(f"{base.origin.scheme}://{base.origin.host}:{base.origin.port}{base.target.rstrip('/')}")

    def call(self, method: str, path: str) -> Answer:
        """Make one small exchange, without a body. Raises Unavailable where there is no answer."""
        return self.head(method, path, size_max=ANSWER_BYTES_MAX, enough=lambda _: False)

    def head(
        self, method: str, path: str, *, size_max: int, enough: Callable[[bytes], bool], follow: bool = True
    ) -> Answer:
        """Read the beginning of an answer, until `enough` is true or `size_max` bytes are read; then disconnect."""
        ends_at, place = time.monotonic() + self.timeouts.call_s, self._at(path)
        if method == "GET" and follow:
            opened = self._got(place, ends_at)
        else:
            opened = self._exchange(self._pooled(), self._request(method, place), ends_at)
        with opened as response:
            return self._beginning(response, ends_at, size_max, enough, may_break=not response.is_success)

    def create(self, path: str, blocks: Iterator[bytes], *, size_bytes: int) -> Answer:
        """Send the one POST of an attempt, JSON, on a fresh connection; return the answer, whatever its status.

        Raises:
            CreateRefused: no byte of it was sent.
            CreateAmbiguous: the exchange broke, or ran out of time, before there was a status.
        """
        ends_at = time.monotonic() + self.timeouts.create_s
        refused: Unavailable | None = None
        try:
            first = next(blocks)  # before connecting: a file that cannot be read is a certain refusal
        except StorageError as error:
            refused = Unavailable(redacted(f"the requests cannot be read: {error}", self.key))
        if refused is None:
            try:
                # A provider may be silent for minutes while it receives the requests of a create.
                sent = Sent(chain((first,), blocks))
                body = Body(blocks=sent, size_bytes=size_bytes)
                request = self._request("POST", self._at(path), body=body, read_s=self.timeouts.create_s)
                with self._fresh() as client, self._exchange(client, request, ends_at) as response:
                    return self._beginning(response, ends_at, ANSWER_BYTES_MAX, lambda _: False, may_break=True)
            except NotConnected as error:
                refused = error
            except (Unavailable, StorageError) as error:
                if isinstance(error, Unavailable) and self._stayed_at_proxy(sent):
                    refused = error
                ambiguous = redacted(f"the create may have succeeded: {error}", self.key)
                provider_message = error.provider_message if isinstance(error, Unavailable) else ""
        if refused is not None:
            raise CreateRefused(refused)
        raise CreateAmbiguous(ambiguous, provider_message=provider_message)

    def upload(self, path: str, body: Body) -> Answer:
        """Send a long body that may be sent again, on a fresh connection; return the answer, whatever its status.

        Raises Unavailable where there is no answer, or the body cannot be read.
        """
        ends_at = time.monotonic() + self.timeouts.upload_s
        try:
            request = self._request("POST", self._at(path), body=body, read_s=self.timeouts.upload_s)
            with self._fresh() as client, self._exchange(client, request, ends_at) as response:
                may_break = not response.is_success
                return self._beginning(response, ends_at, ANSWER_BYTES_MAX, lambda _: False, may_break=may_break)
        except StorageError as error:
            failure = Unavailable(redacted(f"the requests cannot be read: {error}", self.key))
        raise failure

    def download(self, path: str) -> AbstractContextManager[Download]:
        """Read a long answer from the configured origin, with the key."""
        return self._download(self._at(path))

    def fetch(self, url: str) -> AbstractContextManager[Download]:
        """Read a long answer at a URL that the provider gave, perhaps relative to the base URL.

        `url_policy` says which URLs are refused, as BadRequest.
        """
        folder = replace(self._base, target=f"{self._base.target.rstrip('/')}/")
        return self._download(url_policy.joined(folder, url))

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            shared, self._shared = self._shared, None
        if shared is not None and shared[0] == os.getpid():
            shared[1].close()

    def proxy_of(self, place: Origin) -> Proxy | None:
        """Return the proxy that requests to `place` go through; None: none."""
        return self._connection.proxies.between(place)

    def _stayed_at_proxy(self, sent: Sent) -> bool:
        """Whether a create failed while a proxy was asked for a tunnel: then its body was not begun."""
        return self.origin.scheme == "https" and self.proxy_of(self.origin) is not None and not sent.is_begun

    def _at(self, path: str) -> Destination:
        target, query = self._base.target.rstrip("/") + path, self._connection.query
        return Destination(
            origin=self.origin, target=f"{target}{'&' if '?' in target else '?'}{query}" if query else target
        )

    def _request(
        self,
        method: str,
        place: Destination,
        *,
        body: Body | None = None,
        read_s: float | None = None,
        may_have_key: bool = True,
    ) -> httpx.Request:
        times = self.timeouts
        timeout = {"connect": times.connect_s, "write": times.write_s, "pool": times.connect_s}
        headers = httpx.Headers({"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})
        if body is not None:
            headers.update({"Content-Type": body.content_type, "Content-Length": str(body.size_bytes)})
        where = place.origin
        has_key = may_have_key and where == self.origin
        if has_key:
            headers.update(self._connection.headers)
        return httpx.Request(
            method,
            httpx.URL(scheme=where.scheme, host=where.host, port=where.port, path="/"),
            headers=headers,
            content=None if body is None else body.measured(),
            extensions={
                "timeout": timeout | {"read": read_s or times.read_s},
                "target": place.target.encode("ascii"),
                "has_key": has_key,
                "proxy": self.proxy_of(where),
            },
        )

    @contextmanager
    def _exchange(
        self, client: httpx.Client, request: httpx.Request, ends_at: float, pinned: Pinned | None = None
    ) -> Generator[httpx.Response]:
        failure: Unavailable | None = None
        proxy: Proxy | None = request.extensions["proxy"]
        try:
            with telemetry.call(self._name, request.method, request.url.host) as call:
                with self._rules.holding(ends_at, pinned):
                    auth = self._auth if request.extensions["has_key"] else None
                    response = client.send(request, stream=True, auth=auth, follow_redirects=False)
                call.answered(response.status_code)
        except HTTPX_ERRORS as error:
            failure = unavailable(error, self.key, is_late=time.monotonic() >= ends_at, proxy=proxy)
        if failure is None and proxy is not None and response.status_code == PROXY_AUTHENTICATION:
            response.close()
            failure = NotConnected(f"{PROXY_AUTHENTICATION} {proxy_refuses(proxy)}")
        if failure is not None:
            raise failure
        try:
            yield response
        finally:
            response.close()

    def _raw(self, response: httpx.Response, ends_at: float) -> Iterator[bytes]:
        blocks = response.iter_raw()
        block: bytes | None = b""
        while block is not None:
            failure: Unavailable | None = None
            try:
                with self._rules.holding(ends_at):
                    block = next(blocks, None)
            except HTTPX_ERRORS as error:
                failure = unavailable(error, self.key, is_late=time.monotonic() >= ends_at)
            if failure is None and time.monotonic() >= ends_at and block is not None:
                failure = Unavailable("the deadline of the whole exchange passed")
            if failure is not None:
                raise failure
            if block:
                yield block

    def _decoded(self, response: httpx.Response, ends_at: float) -> Iterator[bytes]:
        return decoded(self._raw(response, ends_at), response.headers.get("content-encoding", ""))

    def _beginning(
        self,
        response: httpx.Response,
        ends_at: float,
        size_max: int,
        enough: Callable[[bytes], bool],
        *,
        may_break: bool,
    ) -> Answer:
        """Read as far as is wanted; where an answer `may_break` off, as far as it comes: its status may be enough."""
        body, is_whole = b"", False
        try:
            for block in self._decoded(response, ends_at):
                body += block
                if len(body) > size_max or enough(body):
                    break
            else:
                is_whole = True
        except Unavailable:
            if not may_break:
                raise
        return Answer(
            status=response.status_code,
            headers=_lower(response),
            body=body[:size_max],
            is_whole=is_whole,
            asked=_asked(response.request),
        )

    @contextmanager
    def _download(self, place: Destination) -> Generator[Download]:
        ends_at = time.monotonic() + self.timeouts.download_s
        with self._got(place, ends_at) as response:
            blocks = unpacked(self._decoded(response, ends_at))
            is_framed = "content-length" in response.headers or "transfer-encoding" in response.headers
            if response.is_success and not is_framed:
                blocks = whole_lines(blocks)
            has_key: bool = response.request.extensions["has_key"]
            yield Download(status=response.status_code, headers=_lower(response), has_key=has_key, blocks=blocks)

    @contextmanager
    def _got(
        self, place: Destination, ends_at: float, *, may_have_key: bool = True, left: int = REDIRECTS_MAX
    ) -> Generator[httpx.Response]:
        """Send a GET, and follow a few redirects; the key is not sent again once one has led to another origin."""
        pinned = self._pinned(place.origin)
        request = self._request("GET", place, may_have_key=may_have_key)
        with self._exchange(self._pooled(), request, ends_at, pinned) as response:
            location = response.headers.get("location", "")
            target = url_policy.redirected(place, response.status_code, location)
            if target is None:
                yield response
                return
        if not left:
            raise Unavailable(f"more than {REDIRECTS_MAX} redirects, the last one to {target.origin.host}")
        has_key: bool = request.extensions["has_key"]
        with self._got(target, ends_at, may_have_key=has_key, left=left - 1) as response:
            yield response

    def _pinned(self, origin: Origin) -> Pinned | None:
        """Check an origin that may not be ours, and return the only addresses to connect to. Raises BadRequest."""
        url_policy.check_scheme(origin, self.origin)
        if origin.host == self.origin.host:
            return None
        if self.proxy_of(origin) is not None:
            check_behind_proxy(origin, self.origin)
            return None
        return pin(origin, self.origin, offline=self._transport is not None)

    def _pooled(self) -> httpx.Client:
        with self._lock:
            # A socket shared with the parent of a fork would mix two processes' answers.
            if self._shared is None or self._shared[0] != os.getpid():
                self._shared = (os.getpid(), self._fresh())
            return self._shared[1]

    def _fresh(self) -> httpx.Client:
        return httpx.Client(
            transport=self._transport or TimedTransport(self._rules, self._ssl_context),
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )


def _asked(request: httpx.Request) -> str:
    """Return the method and the URL of a request, without the query."""
    path = request.extensions["target"].decode("ascii").partition("?")[0]
    return f"{request.method} {str(request.url).rstrip('/')}{path}"


def _lower(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


@cache
def _ssl_context(ca_file: str, ca_folder: str, named_by: str) -> ssl.SSLContext:
    if not ca_file and not ca_folder:
        context = httpx.create_ssl_context(trust_env=False)
    else:
        try:
            context = ssl.create_default_context(cafile=ca_file or None, capath=ca_folder or None)
        except OSError as error:
            why = "it holds none" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(f"{named_by}: the certificates in {ca_file} cannot be used: {why}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
