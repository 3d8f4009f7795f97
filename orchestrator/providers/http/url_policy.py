"""Which URLs a request may go to, and which of them get the key.

Rule 1: the key goes to the configured scheme, host and port, and nowhere else.
Rule 2: a URL from a provider is not trusted: it must be https, without credentials, and lead to a public address,
    unless the operator's own base URL is of the same private kind. A host name is resolved once and checked, and the
    connection goes to the checked address, so that a second answer of the name server cannot lead elsewhere. Behind a
    proxy, which resolves names itself, the name and the addresses known here are checked (`check_behind_proxy`).
Rule 3: a URL is sent unchanged; decoding and encoding it again would turn `%2F` into another path.
Rule 4: where a redirect leads is a URL from a provider, too. Only a GET follows one.

Source: OWASP, Server-Side Request Forgery Prevention Cheat Sheet.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urljoin, urlsplit

from orchestrator.domain.errors import BadRequest, ConfigError

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:")
_ENDPOINT: Final = re.compile(
    r"/(?:(?:chat/)?completions|responses|embeddings|messages(?:/batches)?|batches|files|models)/?\Z"
)
_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_PRINTABLE: Final = re.compile(r"[!-~]+")
# RFC 6762, 6761, the reservation of .internal (ICANN, 2024), and what routers use.
_PRIVATE_DOMAINS: Final = frozenset(
    {"local", "localhost", "internal", "intranet", "lan", "corp", "home", "localdomain"}
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(StrEnum):
    """The kind of network that an address belongs to."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    UNUSABLE = "unusable"  # unspecified, multicast


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port, in lower case, the port always named."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether it names this machine, judged by the name alone."""
        address = _literal(self.host)
        return self.host == "localhost" or (address is not None and reach(address) is Reach.LOOPBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A parsed URL: its origin, and its path and query unchanged."""

    origin: Origin
    target: str

    @property
    def url(self) -> str:
        """The whole URL."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        return f"{self.origin.scheme}://{host}:{self.origin.port}{self.target}"


def base_of(base_url: str) -> Destination:
    """Parse the URL that all paths are appended to. Raises ConfigError that says what to type."""
    try:
        base = parse(base_url)
    except BadRequest as error:
        # What cannot be read may hold a password.
        shown = f" = {base_url!r}" if base_url.isprintable() and "@" not in base_url else ""
        raise ConfigError(
            f'base_url{shown}: {error}. Type the address with the version of the API, as in "https://api.openai.com/v1"'
        ) from None
    if "?" in base_url or "#" in base_url:
        raise ConfigError(
            "base_url: a query or a fragment has no place in it. Parameters of each call are a table of their own: "
            'query = { "api-version" = "…" }'
        )
    endpoint = _ENDPOINT.search(base_url)
    if endpoint is not None:
        raise ConfigError(
            f"base_url = {base_url!r} is the address of one endpoint; {endpoint[0]!r} is appended where it is needed. "
            f'Type base_url = "{base_url[: endpoint.start()]}"'
        )
    return base


def joined(base: Destination, reference: str) -> Destination:
    """Parse a URL that may be relative to another one, as in a web page. Raises BadRequest, as `parse` does."""
    if not reference or _ABSOLUTE.match(reference) is not None:
        return parse(reference)
    try:
        return parse(urljoin(base.url, reference))
    except ValueError:
        raise BadRequest("unusable URL: its host or port cannot be read") from None


def redirected(place: Destination, status: int, location: str) -> Destination | None:
    """Return where an answer to a GET redirects it; None where it does not. Raises BadRequest, as `parse` does."""
    return joined(place, location) if status in REDIRECTS and location else None


def parse(url: str) -> Destination:
    """Parse an http or https URL. Raises BadRequest, which names the mistake, never the URL."""
    if _PRINTABLE.fullmatch(url) is None or "\\" in url:
        raise BadRequest("unusable URL: it holds characters that no URL has")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise BadRequest("unusable URL: its host or port cannot be read") from None
    if split.scheme not in _PORTS:
        raise BadRequest("unusable URL: neither http nor https")
    if "@" in split.netloc:
        raise BadRequest("unusable URL: it holds a user name or a password")
    if split.hostname is None or _HOST.fullmatch(split.hostname) is None or port == 0:
        raise BadRequest("unusable URL: its host or port cannot be read")
    origin = Origin(scheme=split.scheme, host=split.hostname, port=port or _PORTS[split.scheme])
    path, _, _ = url.partition("#")
    target = path[path.index("//") + 2 + len(split.netloc) :]
    return Destination(origin=origin, target=target if target.startswith("/") else "/" + target)


def check_scheme(place: Origin, base: Origin) -> None:
    """Refuse plain http, except to the configured origin itself, or where that is http on this machine."""
    if place.scheme == "http" and place != base and not (base.scheme == "http" and base.is_loopback):
        raise BadRequest(f"the result URL is plain http, on {place.host}; only https is fetched")


def check_addresses(host: str, addresses: Sequence[str], base_reaches: Collection[Reach]) -> None:
    """Refuse a host in a network that the operator has not configured.

    Args:
        addresses: all that the name server gave for `host`.
        base_reaches: of the configured host's own addresses.
    """
    for address in addresses:
        found = reach(address_of(address))
        if found is Reach.UNUSABLE or (found is not Reach.PUBLIC and found not in base_reaches):
            raise BadRequest(f"the result URL leads to a {found} address, by way of {host}; refused")


def check_name(host: str, base_host: str) -> None:
    """Refuse a host name that only a private network has, unless the configured one is such a name, too."""
    if _is_private_name(host) and not _is_private_name(base_host):
        raise BadRequest(f"the result URL leads to {host}, a name of a private network; refused")


def _is_private_name(host: str) -> bool:
    name = host.lower().rstrip(".")
    if _literal(name) is not None:
        return False  # judged by its address
    return "." not in name or name.rpartition(".")[2] in _PRIVATE_DOMAINS or name.endswith(".home.arpa")


def address_of(text: str) -> Address:
    """Parse an address of the name server, which may end with the name of an interface."""
    return ipaddress.ip_address(text.partition("%")[0])


def reach(address: Address) -> Reach:
    """Return the kind of an address; an IPv4 address wrapped in IPv6 counts as IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return reach(inner)
    if address.is_unspecified or address.is_multicast:
        return Reach.UNUSABLE
    if address.is_loopback:
        return Reach.LOOPBACK
    if address.is_link_local:
        return Reach.LINK_LOCAL
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
