"""Finds dialects by name: entry points of the group `batch_orchestrator.dialects`, ours and other people's alike."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, EntryPoints, distribution, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator import settings as configuration
from orchestrator.domain.errors import ConfigError
from orchestrator.providers.dialect import Dialect

if TYPE_CHECKING:
    from orchestrator.domain.policy import Policy
    from orchestrator.ports import Provider
    from orchestrator.providers.http.secret import Secret
    from orchestrator.settings import ProviderSettings

GROUP: Final = "batch_orchestrator.dialects"
_REGISTERED: Final[dict[str, type[Dialect]]] = {}


def register(name: str, kind: type[Dialect]) -> None:
    """Register a dialect in this process only; it takes precedence over an installed one. For tests and scripts."""
    _REGISTERED[name] = kind


def provider_settings(name: str, overrides: Mapping[str, Any], folder: Path | None = None) -> ProviderSettings:
    """Return a provider's table with a job's overrides, the options of its dialect included. Raises ConfigError."""
    from orchestrator.providers.http import connection, url_policy

    settings = configuration.provider(name, overrides, folder, option_names=_option_names)
    dialect_of(settings)
    url_policy.base_of(settings.base_url)
    connection.check(settings)
    return settings


def dialect_of(settings: ProviderSettings) -> Dialect:
    """Return the dialect that a provider speaks. Raises ConfigError: unknown dialect, or an option it refuses."""
    kind = _kind(settings.dialect, f"provider {settings.name!r}")
    configuration.refuse_unknown(settings.options, _names_of(kind), "[provider]")
    return kind(settings, kind.options_type(**settings.options))


def check_policy(policy: Policy, settings: ProviderSettings) -> Policy:
    """Return `policy`. Raises ConfigError for a limit that the provider's dialect has no use for."""
    if policy.polls_per_minute_max is not None and dialect_of(settings).is_polled_by_list:
        raise ConfigError(
            f"polls_per_minute_max is not for the dialect {settings.dialect!r}: its list answers for all batches at "
            "once, with at most 30 calls a minute. Leave it out"
        )
    return policy


def connect(settings: ProviderSettings, environment: Mapping[str, str]) -> Provider:
    """Return the provider behind a table of settings. Raises ConfigError: unknown dialect, missing key."""
    from orchestrator.providers.http.client import HttpClient
    from orchestrator.providers.http.connection import Connection, auth_of
    from orchestrator.providers.http.exchange import Timeouts

    dialect, key = dialect_of(settings), key_of(settings, environment)
    http = HttpClient(
        settings.base_url,
        key,
        timeouts=Timeouts(create_s=settings.create_s_max),
        auth=auth_of(settings, key) or dialect.auth(key),
        connection=Connection.of(settings, environment, dialect.headers),
        name=settings.name,
    )
    return dialect.connect(http)


def key_of(settings: ProviderSettings, environment: Mapping[str, str]) -> Secret:
    """Return the key of a provider. Raises ConfigError that names the environment variable and what to do."""
    from orchestrator.providers.http import secret

    return secret.key_of(environment, settings.api_key_env, f"provider {settings.name!r} ({settings.base_url})")


def _option_names(dialect: str) -> tuple[str, ...]:
    return _names_of(_kind(dialect, "[provider]"))


def _names_of(kind: type[Dialect]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind.options_type))


def _kind(name: str, where: str) -> type[Dialect]:
    if name in _REGISTERED:
        return _REGISTERED[name]
    found = _ours().get(name) or _installed(tuple(sys.path)).get(name, [])
    if not found:
        known = {*_ours(), *_installed(tuple(sys.path)), *_REGISTERED}
        raise ConfigError(f"{where}: unknown dialect {name!r}; known: {', '.join(sorted(known))}")
    if len({one.value for one in found}) > 1:
        values = " and ".join(one.value for one in found)
        raise ConfigError(f"{where}: two installed packages have a dialect {name!r}: {values}. Uninstall one of them")
    try:
        kind = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: the dialect {name!r} ({found[0].value}) cannot be imported: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Dialect)):
        raise ConfigError(f"{where}: {found[0].value} is not a subclass of orchestrator.providers.dialect.Dialect")
    return kind


@cache
def _ours() -> dict[str, list[EntryPoint]]:
    """Return the dialects of this package: reading all packages' entry points takes a tenth of a second."""
    return _by_name(distribution("batch-orchestrator").entry_points.select(group=GROUP))


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:  # noqa: ARG001 - what is found depends on it
    return _by_name(entry_points(group=GROUP))


def _by_name(found: EntryPoints) -> dict[str, list[EntryPoint]]:
    known: dict[str, list[EntryPoint]] = {}
    for one in found:
        known.setdefault(one.name, []).append(one)
    return known
