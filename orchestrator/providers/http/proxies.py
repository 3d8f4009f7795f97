"""Which proxy a request goes through: as curl and httpx read it from the environment, or as a provider's table says.

Rule 1: `https_proxy` or `http_proxy` by the URL's scheme, then `all_proxy`; lower case before upper case; empty: none.
Rule 2: this machine, and the hosts of `no_proxy`, are reached directly: a name (and its subdomains), `.domain`, an
    address, a network (`10.0.0.0/8`), each with or without a port; `*` means all.
Rule 3: a password of a proxy is registered with the log and never shown: a proxy is shown as `http://host:port`.

Source: curl's manual, "Environment" and CURLOPT_NOPROXY; httpx, "Environment variables", read 2026-12.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from orchestrator import log
from orchestrator.domain.errors import ConfigError
from orchestrator.providers.http.url_policy import Origin

DIRECT: Final = "direct"  # the value of the setting `proxy` that means: whatever the environment says, none
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy. `named_by` is the variable or setting that named it."""

    scheme: str
    host: str
    port: int
    credentials: bytes = field(default=b"", repr=False)  # user:password
    named_by: str

    @property
    def place(self) -> str:
        """The address without credentials: for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies of one provider: by scheme, and the hosts that are reached directly."""

    by_scheme: Mapping[str, Proxy] = field(default_factory=dict)
    direct: Sequence[str] = ()

    @classmethod
    def of(cls, setting: str, environment: Mapping[str, str]) -> Proxies:
        """Read the setting `proxy` of a provider, and where that is "", the environment. Raises ConfigError."""
        if setting == DIRECT:
            return cls()
        direct = _value(environment, "no_proxy")[1].replace(",", " ").split()
        if setting:
            if "@" in setting:
                raise ConfigError(
                    "[provider]: proxy holds a user name or a password, which would be stored with the job: leave "
                    "proxy out, and set the environment variable HTTPS_PROXY instead"
                )
            proxy = _parsed(setting, "proxy in [provider]")
            return cls(by_scheme=dict.fromkeys(_PORTS, proxy), direct=direct)
        found = {}
        for scheme in _PORTS:
            for name in (f"{scheme}_proxy", "all_proxy"):
                variable, url = _value(environment, name)
                if url:
                    found[scheme] = _parsed(url, variable)
                    break
        return cls(by_scheme=found, direct=direct)

    def between(self, place: Origin) -> Proxy | None:
        """Return the proxy to use for a destination; None: connect directly."""
        proxy = self.by_scheme.get(place.scheme)
        if proxy is None or place.is_loopback or any(_matches(entry, place) for entry in self.direct):
            return None
        return _supported(proxy)


def _value(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the variable that counts, and its value."""
    if name in environment:
        return name, environment[name].strip()
    upper = name.upper()
    # In a CGI program HTTP_PROXY is a header of the request that is being answered ("httpoxy").
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        return upper, ""
    return upper, environment.get(upper, "").strip()


def _parsed(url: str, named_by: str) -> Proxy:
    try:
        split = urlsplit(url if "://" in url else f"http://{url}")
        port = split.port
    except ValueError:
        split, port = urlsplit(""), None
    if not split.hostname or not split.hostname.isascii():
        raise ConfigError(f"{named_by} is not the URL of a proxy: it must look like http://host:port")
    user, at, _ = split.netloc.rpartition("@")
    for secret in (split.password, unquote_to_bytes(split.password or "").decode("utf-8", "replace")):
        if secret:
            log.hide(secret)
    name, _, password = user.partition(":")
    credentials = unquote_to_bytes(name) + b":" + unquote_to_bytes(password) if at else b""
    if credentials:
        log.hide(base64.b64encode(credentials).decode())
    return Proxy(
        scheme=split.scheme,
        host=split.hostname,
        port=port or _PORTS.get(split.scheme, 1080),
        credentials=credentials,
        named_by=named_by,
    )


def _supported(proxy: Proxy) -> Proxy:
    """Refuse a SOCKS proxy, but only where it would be used: many set one beside the other two."""
    if proxy.scheme not in _PORTS:
        raise ConfigError(
            f"{proxy.named_by} names a {proxy.scheme} proxy, and only http and https proxies can be used. Name one of "
            "those (it may stand in front of the other) in HTTPS_PROXY or as `proxy` in the [provider] table, or the "
            "provider's host in NO_PROXY"
        )
    return proxy


def _matches(entry: str, place: Origin) -> bool:
    """Whether an entry of `no_proxy` names this destination."""
    if entry == "*":
        return True
    host, entry = place.host.lower().rstrip("."), entry.lower()
    bare, _, port = entry.rpartition(":")
    is_address = entry.count(":") > 1 and not entry.startswith("[")
    if bare and port.isdigit() and not is_address:
        if int(port) != place.port:
            return False
        entry = bare
    entry = entry.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
