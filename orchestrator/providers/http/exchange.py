"""The limits of an exchange: its deadline, its body, and the addresses it may connect to."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from orchestrator.domain.errors import BadRequest, Unavailable
from orchestrator.domain.model import is_usable_id
from orchestrator.providers.http import url_policy
from orchestrator.providers.http.url_policy import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts, seconds. The first three are for one operation, the others for a whole exchange."""

    connect_s: float = 10.0
    read_s: float = 60.0
    write_s: float = 60.0
    call_s: float = 60.0
    create_s: float = 240.0  # long: after a timeout of a create a person may have to resolve it
    upload_s: float = 3_600.0  # of an input file, which can be sent again for free
    download_s: float = 3_600.0


class NotConnected(Unavailable):
    """The connection was never made: no byte of the request was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request carries, read as it is sent."""

    blocks: Iterable[bytes]
    size_bytes: int
    content_type: str = "application/json"

    def measured(self) -> Iterator[bytes]:
        """Yield the blocks, of exactly the announced size. Raises Unavailable."""
        left = self.size_bytes
        for block in self.blocks:
            left -= len(block)
            if left < 0:
                break
            yield block
        if left != 0:
            raise Unavailable("the requests do not have the announced length")


class Sent:
    """The blocks of a body, and whether the first was asked for."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.is_begun = False
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        self.is_begun = True
        return iter(self._blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A streamed answer; `blocks` raises Unavailable where it is cut or too slow."""

    status: int
    headers: Mapping[str, str]
    has_key: bool  # whether the request had the key
    blocks: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A host, and the only addresses to connect to for it."""

    host: str
    addresses: Sequence[str]


class Rules(threading.local):
    """The limits of the socket operations of this thread's present exchange."""

    ends_at: float = math.inf
    pinned: Pinned | None = None

    @contextmanager
    def holding(self, ends_at: float, pinned: Pinned | None = None) -> Generator[None]:
        """Set these limits until the block ends."""
        self.ends_at, self.pinned = ends_at, pinned
        try:
            yield
        finally:
            self.ends_at, self.pinned = math.inf, None

    def left_s(self, timeout_s: float | None, too_late: type[Exception]) -> float:
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise too_late("the deadline of the whole exchange")
        return min(left_s, math.inf if timeout_s is None else timeout_s)

    def dialled(self, host: str) -> Sequence[str]:
        """Return the addresses to connect to for a host: none, where another host was checked."""
        if self.pinned is None:
            return (host,)
        return self.pinned.addresses if host == self.pinned.host else ()


def path_of(*parts: str) -> str:
    """Return a path of names and of ids, which are percent-encoded. Raises BadRequest for an id that is none."""
    if not all(map(is_usable_id, parts)):
        raise BadRequest("unusable id of a batch or a file")
    return "".join(f"/{quote(part, safe=':')}" for part in parts)


def pin(place: Origin, base: Origin, *, offline: bool) -> Pinned | None:
    """Resolve a host that is not ours, once, and check where it leads. Raises BadRequest, or NotConnected.

    Args:
        offline: names are resolved elsewhere, by a test: only a numeric address is checked.
    """
    addresses = _addresses(place, offline=offline)
    if not addresses and offline:
        return None
    if not addresses:
        raise NotConnected(f"the name {place.host} cannot be resolved")
    reaches = {url_policy.reach(url_policy.address_of(address)) for address in _addresses(base, offline=offline)}
    url_policy.check_addresses(place.host, addresses, reaches)
    return Pinned(host=place.host, addresses=addresses)


def check_behind_proxy(place: Origin, base: Origin) -> None:
    """Check a host that is not ours, and that a proxy connects to. Raises BadRequest.

    The proxy resolves the name again, and this machine may not be able to: so the name itself is judged, and the
    addresses as far as they are known here. Where the proxy connects in the end is the proxy's rule.
    """
    url_policy.check_name(place.host, base.host)
    reaches = {url_policy.reach(url_policy.address_of(address)) for address in _addresses(base, offline=False)}
    url_policy.check_addresses(place.host, _addresses(place, offline=False), reaches)


def _addresses(origin: Origin, *, offline: bool) -> list[str]:
    flags = socket.AI_NUMERICHOST if offline else 0
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]
