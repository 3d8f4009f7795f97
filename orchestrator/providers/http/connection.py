"""How a provider is reached beyond its address: proxy, certificates, further headers, query parameters, authentication.

Rule 1: what a table of settings says is checked here when a job is read, without an HTTP client (`check`); what the
    environment says is read when a client is made (`Connection.of`).
Rule 2: a secret is in no file: a header that holds one is named in `headers_env`, with the variable that has its value.
Rule 3: headers and query parameters go to the provider's own address only, as the key does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from orchestrator import log
from orchestrator.domain.errors import ConfigError
from orchestrator.providers.http.proxies import Proxies
from orchestrator.providers.http.secret import Secret, check_secret

if TYPE_CHECKING:
    from orchestrator.providers.http.auth import Auth
    from orchestrator.settings import ProviderSettings

BEARER: Final = "bearer"
HEADER: Final = "header:"
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
# Each exchange sets these itself, or depends on there being none.
_OURS: Final = frozenset(
    (
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect"),
        *("host", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
_SECRET: Final = re.compile(
    r"(?:^|[-_.])(?:auth|authorization|(?:api)?key|(?:access)?token|secret|password|sig|signature)(?:$|[-_.])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a client needs to reach a provider, besides address and key."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # some may be secret
    query: str = ""  # encoded
    ca_file: str = ""
    ca_folder: str = ""
    ca_named_by: str = ""  # the setting or variable, for messages
    proxies: Proxies = field(default_factory=Proxies)

    @classmethod
    def of(
        cls, settings: ProviderSettings, environment: Mapping[str, str], dialect_headers: Mapping[str, str]
    ) -> Connection:
        """Return what a provider's dialect, its table and the environment say together. Raises ConfigError."""
        check(settings)
        given = {name.lower() for name in (*settings.headers, *settings.headers_env)}
        headers = {name: value for name, value in dialect_headers.items() if name.lower() not in given}
        headers |= settings.headers
        for name, variable in settings.headers_env.items():
            headers[name] = _secret_header(name, variable, environment)
        named_by = {"ca_file in [provider]": (settings.ca_file, "")} if settings.ca_file else _ca_of(environment)
        ca_file, ca_folder = next(iter(named_by.values()), ("", ""))
        return cls(
            headers=headers,
            query=encoded(settings.query),
            ca_file=ca_file,
            ca_folder=ca_folder,
            ca_named_by=next(iter(named_by), ""),
            proxies=Proxies.of(settings.proxy, environment),
        )

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], headers: Mapping[str, str]) -> Connection:
        """Return what the environment alone says, for an address that is no provider's. Raises ConfigError."""
        named_by = _ca_of(environment)
        ca_file, ca_folder = next(iter(named_by.values()), ("", ""))
        return cls(
            headers=headers,
            ca_file=ca_file,
            ca_folder=ca_folder,
            ca_named_by=next(iter(named_by), ""),
            proxies=Proxies.of("", environment),
        )


def check(settings: ProviderSettings) -> None:
    """Raise ConfigError for a setting that cannot be sent as it is."""
    for name, value in settings.headers.items():
        _check_header(name)
        if _SECRET.search(name):
            raise ConfigError(
                f"[provider]: the header {name} holds a secret, and secrets are in no file. Name an environment "
                f'variable: headers_env = {{ "{name}" = "VARIABLE" }}, or, for the provider\'s key itself, '
                f'auth = "{HEADER}{name}"'
            )
        if _VALUE.fullmatch(value) is None:
            raise ConfigError(
                f"[provider]: the value of the header {name} must be printable ASCII, without spaces around it"
            )
    for name in settings.query:
        if _SECRET.search(name):
            raise ConfigError(
                f"[provider]: the query parameter {name} holds a secret, which would be stored with the job and shown "
                f'in addresses. Send it in a header: auth = "{HEADER}NAME", or headers_env'
            )
    for name in settings.headers_env:
        _check_header(name)
        if name.lower() in {other.lower() for other in settings.headers}:
            raise ConfigError(f"[provider]: the header {name} is in headers and in headers_env: give it once")
    scheme, _, header = settings.auth.partition(":")
    if settings.auth not in ("", BEARER) and not (scheme == "header" and _NAME.fullmatch(header)):
        raise ConfigError(
            f'[provider]: auth must be "{BEARER}" or "{HEADER}NAME", as in "{HEADER}api-key", not {settings.auth!r}'
        )
    if header.lower() in _OURS:
        raise ConfigError(f"[provider]: auth cannot be the header {header}: each request sets it itself")
    Proxies.of(settings.proxy, {})


def auth_of(settings: ProviderSettings, key: Secret) -> Auth | None:
    """Return how requests show the key; None: as the dialect says."""
    from orchestrator.providers.http.auth import Bearer, Header

    if not settings.auth:
        return None
    return Bearer(key) if settings.auth == BEARER else Header(settings.auth.removeprefix(HEADER), key)


def encoded(query: Mapping[str, str]) -> str:
    """Return query parameters as they are sent, without the question mark."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())


def _check_header(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"[provider]: {name!r} cannot be the name of a header")
    if name.lower() in _OURS:
        raise ConfigError(f"[provider]: the header {name} cannot be set: each request sets it itself")


def _secret_header(name: str, variable: str, environment: Mapping[str, str]) -> str:
    if variable not in environment:
        raise ConfigError(
            f"the environment variable {variable} is not set: headers_env takes the header {name} from it"
        )
    value = environment[variable]
    if _VALUE.fullmatch(value) is None:
        check_secret(value, variable, what=f"the value of the header {name}")
        raise ConfigError(f"the environment variable {variable}: no header may hold what it holds")
    log.hide(value)
    return value


def _ca_of(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the certificates that the environment names, as OpenSSL and curl read it, under the variables' names."""
    ca_file, ca_folder = (environment.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if ca_folder and not any(Path(folder).is_dir() for folder in ca_folder.split(os.pathsep)):
        raise ConfigError(f"SSL_CERT_DIR: {ca_folder} is not a folder of certificates: correct it, or unset it")
    named = [name for name, value in (("SSL_CERT_FILE", ca_file), ("SSL_CERT_DIR", ca_folder)) if value]
    return {" and ".join(named): (ca_file, ca_folder)} if named else {}
