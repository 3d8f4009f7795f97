"""Settings from outside the program: `config/defaults.toml`, `config/providers.toml`, the environment. Read once.

Rule 1: an unknown key is a ConfigError that names it and similar keys; nothing is guessed.
Rule 2: a message never shows a value that could be a secret: keys are named by their environment variable only.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, get_type_hints

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.notices import kinds_in, read_format, read_kinds
from orchestrator.domain.policy import Policy, Price
from orchestrator.storage.location import locate
from orchestrator.storage.work_folder import find_work, program_folder

PACKAGED: Final = Path(__file__).parent / "config"  # in an installed wheel
CHECKOUT: Final = Path(__file__).parent.parent / "config"
_TEXT_TABLES: Final = ("headers", "headers_env", "query")
_AT_LEAST_ONE: Final = (  # of the policy
    *("attempts_max", "chunk_requests_max", "chunk_bytes_max", "chunk_tokens_max", "chunks_ahead_max"),
    *("batches_in_flight_max", "polls_per_minute_max", "creates_per_minute_max"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the program runs on this machine."""

    work: str
    """The work folder: a folder, or `s3://bucket/prefix`. A relative one is looked for as git looks for `.git`: from
    the folder of the job file or script upward, for commands that name a job by its id from the current folder."""
    ledger_url: str = field(repr=False)
    """Empty: SQLite in the work folder. `postgresql://user:password@host/database` for several machines,
    `sqlite:////path` for another file."""
    broker_url: str = field(repr=False)
    """A fleet's broker: `redis://`, `rediss://` (TLS) or `redis+socket:///path`."""
    broker_insecure: bool
    """Allow a broker on another machine without TLS or without a password."""
    threads: int
    """Steps at a time in one process, of each kind; two of those that hold rows, and 32 that look for lost creates
    (`run` only)."""
    lease_s: float
    """How long a unit belongs to a process that stops renewing its claim, seconds."""
    tick_s: float
    """How often a beat sends a tick, seconds."""
    shutdown_s: float
    """How long a worker that is told to stop waits for its steps, seconds."""
    heartbeat: str
    """A file that a worker or a beat touches every few seconds."""
    traces: bool
    """Export spans of steps and of calls to providers, by [OpenTelemetry](operations.md#traces)."""
    notify_url: str = field(repr=False)
    """Where [notices](operations.md#notices) of jobs without a `[notify]` go; empty: nowhere. Often a secret."""
    notify_format: str
    """The form of those notices: `json`, `slack` or `ntfy`."""
    notify_on: str
    """Which of them are sent, separated by commas."""
    notify_secret: str = field(repr=False)
    """With `json` the key of the signature (`whsec_…`), with `ntfy` an access token."""
    shard_rows: int
    """Where a shard ends. Part of a job's identity."""
    shard_bytes: int
    """The same, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One provider's table. `api_key_env` names an environment variable; the key itself is never kept."""

    name: str
    dialect: str
    """The provider's API: `"onerouter"`, `"openai"`, `"anthropic"`, or one that an installed package adds."""
    base_url: str
    """Up to and with `/v1`."""
    api_key_env: str
    """The name of the environment variable that holds the key. The key itself is in no file."""
    requests_max: int
    """As `chunk_requests_max`."""
    bytes_max: int
    """As `chunk_bytes_max`."""
    tokens_max: int | None = None
    """As `chunk_tokens_max`."""
    batches_in_flight_max: int = 20
    """As in `[policy]`."""
    poll_s_min: float = 15.0
    """As in `[policy]`."""
    poll_s_max: float = 300.0
    """As in `[policy]`."""
    polls_per_minute_max: int | None = None
    """As in `[policy]`."""
    creates_per_minute_max: int | None = None
    """As in `[policy]`."""
    create_s_max: float = 300.0
    """The total time for one create, seconds; where the requests are part of it, their upload included."""
    list_lag_s: float = 60.0
    """How long a new batch may be missing from the provider's list, seconds: the wait before a lost create counts as
    absent. Only where there is a list."""
    structured_output: str = ""
    """How a model is asked for [typed answers](docs/typed-answers.md): `"native"`, `"text"` (in words), or, empty, as
    it can."""
    auth: str = ""
    """How a request shows the key: `"bearer"`, or `"header:NAME"`, as in `"header:api-key"`; empty: as the dialect does
    it."""
    proxy: str = ""
    """The URL of an HTTP proxy, without a password; `"direct"`: none; empty: as the environment says."""
    ca_file: str = ""
    """A file of certificates (PEM) to trust instead of the common ones."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of each request, as in `{ "OpenAI-Organization" = "org-…" }`; no secrets."""
    headers_env: Mapping[str, str] = field(default_factory=dict)
    """Headers whose values are secret: for each the name of the environment variable that holds its value."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters of each request, as in `{ "api-version" = "2026-01-01" }`."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """For each model `input_usd` and `output_usd`, and if you like `cached_usd`, in USD per million tokens on the batch
    route, as strings. They come before the prices in `config/prices.json`, see [Prices](docs/job-file.md#prices)."""
    options: Mapping[str, Any] = field(default_factory=dict)  # the keys that only this dialect has


def config_folder() -> Path:
    """Return the folder of the shipped configuration."""
    return CHECKOUT if CHECKOUT.is_dir() else PACKAGED


def load(environment: Mapping[str, str], folder: Path | None = None, *, start: Path | None = None) -> Settings:
    """Read `defaults.toml` and the environment's `ORCHESTRATOR_*`. Raises ConfigError.

    Args:
        start: where the work folder is looked for, unless the environment names it; None: in the program's folder.
    """
    path = (folder or config_folder()) / "defaults.toml"
    values, kinds = read_toml(path), get_type_hints(Settings)
    refuse_unknown(values, kinds, str(path))
    _refuse_missing(values, kinds, str(path))
    called = {name: f"{path}: {name}" for name in kinds}
    for name, kind in kinds.items():
        variable = f"ORCHESTRATOR_{name.upper()}"
        if variable in environment:
            called[name] = variable
            values[name] = _from_text(kind, environment[variable], variable)
        _check_setting(kind, values[name], called[name])
    read_format(values["notify_format"], called["notify_format"])
    read_kinds(kinds_in(values["notify_on"]), called["notify_on"])
    if not values["work"]:
        raise ConfigError(f"{called['work']} must be the path of a folder, or the URL of one in an object store")
    is_named = "ORCHESTRATOR_WORK" in environment
    work = locate(values["work"]) if is_named else find_work(values["work"], start or program_folder())
    return Settings(**values | {"work": work})


def _check_setting(kind: type, value: Any, where: str) -> None:
    if kind in (str, bool) and not isinstance(value, kind):
        raise ConfigError(f"{where} must be {_called(kind)}")
    if kind in (int, float) and not (isinstance(value, int | kind) and _is_positive(value)):
        raise ConfigError(f"{where} must be {_called(kind)} above 0")


def provider(
    name: str,
    overrides: Mapping[str, Any],
    folder: Path | None = None,
    *,
    option_names: Callable[[str], Collection[str]] = lambda _: (),
) -> ProviderSettings:
    """Return the provider's table with a job's overrides; a job may define a provider that is not in the file.

    Args:
        option_names: the further keys that a dialect has; their values are not checked here.
    """
    where, table = _provider_table(name, overrides, (folder or config_folder()) / "providers.toml")
    values: dict[str, Any] = {"requests_max": 10_000, "bytes_max": 50_000_000, **table}
    dialect = overrides.get("dialect", values.get("dialect"))
    own = option_names(dialect) if isinstance(dialect, str) else ()
    known = [*(f.name for f in fields(ProviderSettings) if f.name not in ("name", "options")), *own]
    refuse_unknown(values, known, where)
    if "name" in overrides:
        raise ConfigError(
            f"[provider]: unknown key 'name'. Which provider it is stands in [job]: provider = \"{overrides['name']}\""
        )
    refuse_unknown(overrides, known, "[provider]")
    values |= overrides
    _refuse_missing(values, ("dialect", "base_url", "api_key_env"), where)
    for key in _TEXT_TABLES:
        _check_texts(values.get(key, {}), key)
    if isinstance(values.get("ca_file"), str) and values["ca_file"]:
        values["ca_file"] = str(Path(values["ca_file"]).expanduser().absolute())
    values["options"] = {key: values.pop(key) for key in own if key in values}
    if not isinstance(values.get("prices", {}), Mapping):
        raise ConfigError("[provider]: prices must be a table of models")
    values["prices"] = {model: _price(model, table) for model, table in values.get("prices", {}).items()}
    settings = ProviderSettings(name=name, **values)
    _check_provider(settings)
    return settings


def _provider_table(name: str, overrides: Mapping[str, Any], path: Path) -> tuple[str, Mapping[str, Any]]:
    """Return where a provider's table stands, and the table; an empty one for a provider that a job defines itself."""
    tables = read_toml(path)
    if name not in tables and not {"dialect", "base_url", "api_key_env"} <= overrides.keys():
        raise ConfigError(
            f"provider {name!r} is not in {path}, which has: {', '.join(sorted(tables))}. "
            "One of your own needs dialect, base_url and api_key_env in the job's [provider] table"
        )
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: {name} must be a table: [{name}] with dialect, base_url and api_key_env")
    return f"{path}: [{name}]", table


def _check_provider(settings: ProviderSettings) -> None:
    check_types(settings, "[provider]")
    if not _is_positive(settings.create_s_max):
        raise ConfigError("[provider]: create_s_max must be above 0")
    if settings.structured_output not in ("", "native", "text"):
        raise ConfigError(
            f'[provider]: structured_output must be "native" or "text", not {settings.structured_output!r}'
        )
    if not 0 <= settings.list_lag_s < math.inf:
        raise ConfigError("[provider]: list_lag_s must be a number of seconds, not below 0")


def _check_texts(table: Any, name: str) -> None:
    if not isinstance(table, Mapping):
        raise ConfigError(f'[provider]: {name} must be a table: {name} = {{ "NAME" = "VALUE" }}')
    for key, value in table.items():
        if not isinstance(value, str):
            raise ConfigError(f"[provider]: {name}.{key} must be text, not {type(value).__name__}")


def policy(own: Mapping[str, Any], provider_settings: ProviderSettings, *, given: Policy | None = None) -> Policy:
    """Return the policy of a job: its own settings, within the limits of the provider's table."""
    base = given or Policy()
    table = provider_settings
    if given is None:
        base = replace(
            base,
            chunk_requests_max=table.requests_max,
            chunk_bytes_max=table.bytes_max,
            chunk_tokens_max=table.tokens_max,
            batches_in_flight_max=table.batches_in_flight_max,
            poll_s_min=table.poll_s_min,
            poll_s_max=table.poll_s_max,
            polls_per_minute_max=table.polls_per_minute_max,
            creates_per_minute_max=table.creates_per_minute_max,
        )
    known = {f.name: f for f in fields(Policy)}
    refuse_unknown(own, known, "[policy]")
    values = {name: _policy_value(name, value) for name, value in own.items()}
    merged = replace(base, **values)
    check_types(merged, "[policy]")
    for name in _AT_LEAST_ONE:
        if getattr(merged, name) is not None and getattr(merged, name) < 1:
            raise ConfigError(f"policy.{name} must be at least 1")
    if not 0 < merged.poll_s_min <= merged.poll_s_max < math.inf:
        raise ConfigError("poll_s_min must be above 0, and poll_s_max not below it")
    if merged.canary_rows < 0:
        raise ConfigError("policy.canary_rows must be at least 1, or 0 for no canary")
    if not 0 <= merged.retry_gather_s < math.inf:
        raise ConfigError("policy.retry_gather_s must be a number of seconds, not below 0")
    return merged


def _policy_value(name: str, value: Any) -> Any:
    message = get_type_hints(Policy)[name]
    if message in (Decimal, Decimal | None) and value is not None:
        return _decimal(value, f"policy.{name}")
    if isinstance(message, type) and issubclass(message, str):
        try:
            return message(value)
        except ValueError:
            choices = ", ".join(repr(choice.value) for choice in message)  # type: ignore[attr-defined]
            raise ConfigError(f"policy.{name} must be one of {choices}") from None
    return value


def _price(model: str, table: Any) -> Price:
    if isinstance(table, Price):
        return table
    where = f'prices."{model}"'
    if not isinstance(table, Mapping) or set(table) - {"cached_usd"} != {"input_usd", "output_usd"}:
        raise ConfigError(
            f"{where} must have input_usd and output_usd, and may have cached_usd: USD per million tokens, as strings"
        )
    amounts: dict[str, Any] = {name: _decimal(amount, f"{where}.{name}") for name, amount in table.items()}
    return Price(**amounts)


def _decimal(value: Any, where: str) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ConfigError(f"{where} must be an amount in USD") from None
    if not amount.is_finite() or amount < 0:
        raise ConfigError(f"{where} must be an amount in USD, not below 0")
    return amount


def _from_text(kind: type, text: str, variable: str) -> str | bool | int | float:
    """Return the value of a setting given in the environment."""
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{variable} must be true or false")
        return text.lower() == "true"
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    raise ConfigError(f"{variable} must be a number")


def _is_positive(value: float) -> bool:
    """Return whether `value` is a finite number above 0, and neither true nor NaN."""
    return not isinstance(value, bool) and 0 < value < math.inf


def check_types(value: Any, where: str) -> None:
    """Raise ConfigError for a field of a settings dataclass whose value is not of the declared type."""
    for name, message in get_type_hints(type(value)).items():
        found = getattr(value, name)
        wanted = (int, float) if message is float else getattr(message, "__args__", None) or message
        if getattr(message, "__origin__", None) is not None and not hasattr(message, "__args__"):
            continue
        if name in ("prices", "options", *_TEXT_TABLES):
            continue
        if isinstance(found, bool) and message is not bool:
            raise ConfigError(f"{where}: {name} must be {_called(message)}, not true or false")
        if not isinstance(found, wanted):
            raise ConfigError(f"{where}: {name} must be {_called(message)}, not {type(found).__name__}")


def _called(message: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Decimal: "an amount"}
    if message in names:
        return names[message]
    return " or ".join(names.get(part, "nothing") for part in getattr(message, "__args__", ())) or str(message)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError that names the file and the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not valid TOML: nested too deep") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8: save the file as UTF-8 text") from None
    except ValueError as error:  # no TOML, or a number that Python will not read
        hint = ": a text stands in quotes" if str(error).startswith("Invalid value") else ""
        raise ConfigError(f"{path}: is not valid TOML: {error}{hint}") from None


def _refuse_missing(values: Mapping[str, Any], needed: Collection[str], where: str) -> None:
    if missing := [name for name in needed if name not in values]:
        raise ConfigError(f"{where}: {', '.join(missing)} must be given")


def refuse_unknown(values: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise ConfigError for an unknown key, with the most similar known one."""
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            other = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: unknown key {name!r}; {other}")
