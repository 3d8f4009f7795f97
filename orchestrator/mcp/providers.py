"""Where the jobs of an agent may send rows, and with which keys.

Rule 1: whoever writes a job file that an agent runs may be the agent, told so by a row. So its provider is one of the
        configuration, with its own address and its own key, unless a person has allowed others.
Rule 2: a variable of the environment is named by a job file only where it holds a provider's key, or was allowed.
Rule 3: a price that is known is not made lower: the budget is reckoned with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator import settings as configuration
from orchestrator.domain.errors import ConfigError
from orchestrator.providers import catalogue
from orchestrator.providers.registry import dialect_of, provider_settings

if TYPE_CHECKING:
    from orchestrator.api.job import Job
    from orchestrator.settings import ProviderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedProviders:
    """The addresses and variables that a person has allowed beside those of the configuration."""

    urls: Sequence[str] = ()  # base_url, each as a job file has it
    variables: Sequence[str] = ()  # of the environment

    def check(self, job: Job) -> None:
        """Raise ConfigError for a job that goes elsewhere, with another key, through a proxy, or at a lower price."""
        given = job.provider_settings
        known = list(_known())
        usual = next((one for one in known if _same(one.base_url, given.base_url)), None)
        if usual is None and not any(_same(url, given.base_url) for url in self.urls):
            raise ConfigError(
                f"provider.base_url {given.base_url} is no address of the configuration: a job file could send rows "
                "and a key anywhere. A person can allow it: " + _typed("--allow-url", given.base_url)
            )
        self._check_variables(job, given, () if usual is None else (usual.api_key_env,))
        if given.proxy not in ("", "direct", *(one.proxy for one in known)):
            raise ConfigError(
                "provider.proxy of a job file would see all that is sent: leave it out; a person sets HTTPS_PROXY"
            )
        if usual is not None:
            _check_prices(given)

    def _check_variables(self, job: Job, given: ProviderSettings, usual: Sequence[str]) -> None:
        named = {"provider.api_key_env": given.api_key_env}
        named |= {f"provider.headers_env of {header}": variable for header, variable in given.headers_env.items()}
        if (notify := job.resolved_notify) is not None:
            named |= {"notify.url_env": notify.url_env, "notify.secret_env": notify.secret_env}
        for where, variable in named.items():
            if variable and variable not in (*usual, *self.variables):
                raise ConfigError(
                    f"{where} names {variable}, which is not the key of that provider in the configuration: what it "
                    "holds would be sent there. A person can allow it: " + _typed("--allow-variable", variable)
                )


def _known() -> Iterator[ProviderSettings]:
    for name in configuration.read_toml(configuration.config_folder() / "providers.toml"):
        yield provider_settings(name, {})


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def _typed(option: str, value: str) -> str:
    return f"`orchestrator mcp {option} {value}`"


def _check_prices(given: ProviderSettings) -> None:
    dialect, today = dialect_of(given), datetime.now(UTC).date()
    for model, price in given.prices.items():
        known = catalogue.price_of(dialect.sold_as(model), today)
        if known is not None and (price.input_usd < known.input_usd or price.output_usd < known.output_usd):
            raise ConfigError(
                f'provider.prices."{model}" is below the known price ({known.input_usd} in, {known.output_usd} out, '
                "USD per million tokens), so that the budget would not hold: leave it out"
            )
