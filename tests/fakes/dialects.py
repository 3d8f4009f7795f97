"""Providers and dialects as the registry makes them, with a client of the test's own."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.providers.anthropic.dialect import AnthropicDialect
from orchestrator.providers.anthropic.provider import Anthropic
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.onerouter.dialect import OneRouterDialect
from orchestrator.providers.onerouter.provider import OneRouter
from orchestrator.providers.openai.dialect import OpenAIDialect
from orchestrator.providers.openai.provider import OpenAI
from orchestrator.providers.registry import dialect_of, provider_settings

_made: Final[dict[str, Dialect]] = {}


def a_dialect(name: str, **options: Any) -> Dialect:
    """Return a dialect with these keys in its `[provider]` table."""
    key = f"{name} {options!r}"  # the table has the prices of all models, and hundreds of tests want the same dialect
    if key not in _made:
        _made[key] = dialect_of(provider_settings(name, options))
    return _made[key]


def onerouter(http: HttpClient, **options: Any) -> OneRouter:
    """Return a provider that speaks as OneRouter does."""
    dialect = a_dialect("onerouter", create_s_max=http.timeouts.create_s, **options)
    assert isinstance(dialect, OneRouterDialect)
    return dialect.connect(http)


def openai(http: HttpClient, **options: Any) -> OpenAI:
    """Return a provider that speaks as OpenAI does."""
    dialect = a_dialect("openai", create_s_max=http.timeouts.create_s, **options)
    assert isinstance(dialect, OpenAIDialect)
    return dialect.connect(http)


def anthropic(http: HttpClient, **options: Any) -> Anthropic:
    """Return a provider that speaks as Anthropic does."""
    dialect = a_dialect("anthropic", create_s_max=http.timeouts.create_s, **options)
    assert isinstance(dialect, AnthropicDialect)
    return dialect.connect(http)
