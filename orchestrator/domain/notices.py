"""Notices: what a person is told of a job who is not looking. Which kinds there are, and where they go."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Any, Final

from orchestrator.domain.errors import ConfigError


class Kind(StrEnum):
    """What a notice is about."""

    FINISHED = "finished"  # or cancelled: there is an output
    PAUSED = "paused"  # the job has stopped, or its account may not send for a while
    NEEDS_PERSON = "needs_person"  # it waits for a decision, or for something at the account
    BUDGET = "budget"  # it waits for batches to settle, or has stopped


class Again(Enum):
    """Which notices that were not received are sent again."""

    WHEN_DUE = auto()  # each at its own time
    NOW = auto()  # those that are not given up
    GIVEN_UP_TOO = auto()


class Format(StrEnum):
    """The form of a message."""

    JSON = "json"  # signed, in the form of Standard Webhooks
    SLACK = "slack"  # also Mattermost, Discord (…/slack), Rocket.Chat
    NTFY = "ntfy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """The `[notify]` table of a job: where its notices go. Addresses and secrets are in the environment."""

    url_env: str
    """The name of the environment variable that holds the address to POST to: often a secret."""
    format: Format = Format.JSON
    """`"json"`: signed, in the form of Standard Webhooks. `"slack"`: for Slack, Mattermost, Discord (`…/slack`).
    `"ntfy"`: for ntfy."""
    on: tuple[Kind, ...] = tuple(Kind)
    """Which notices: of `finished`, `paused`, `needs_person`, `budget`."""
    secret_env: str = ""
    """The name of the variable with the key of the signature (`json`), or with an access token (`ntfy`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notice in the ledger that is to be sent."""

    id: int
    job_id: str
    kind: Kind
    reason: str
    at: datetime
    tries: int  # sendings begun so far, the present one included
    is_own: bool  # by the job's own `[notify]`; else by the settings of the process that sends


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """Notices of a job that could not be sent, or not yet."""

    given_up: int
    tried_again: int
    error: str  # the latest

    @property
    def count(self) -> int:
        """How many there are."""
        return self.given_up + self.tried_again


NONE_UNDELIVERED: Final = Undelivered(given_up=0, tried_again=0, error="")


def read_notify(table: Mapping[str, Any]) -> Notify | None:
    """Return what a `[notify]` table says; None of an empty one. Raises ConfigError that names the key."""
    if not table:
        return None
    known = ("url_env", "format", "on", "secret_env")
    if unknown := [name for name in table if name not in known]:
        raise ConfigError(f"[notify]: unknown key {unknown[0]!r}; known: {', '.join(known)}")
    for name in ("url_env", "secret_env"):
        found = table.get(name, "")
        if not isinstance(found, str) or "/" in found:
            raise ConfigError(
                f"[notify]: {name} must be the name of an environment variable, not what it holds: an address to "
                "notify may hold a secret, and secrets are in no file"
            )
    if not table.get("url_env"):
        raise ConfigError('[notify] needs url_env = "VARIABLE": the environment variable that has the address')
    form, on = read_format(table.get("format", Format.JSON), "[notify]: format"), table.get("on", list(Kind))
    if table.get("secret_env") and form is Format.SLACK:
        raise ConfigError("[notify]: secret_env is not for slack, whose address is the secret: leave it out")
    return Notify(url_env=table["url_env"], format=form, on=read_kinds(on), secret_env=table.get("secret_env", ""))


def own_kinds(spec: str) -> tuple[Kind, ...] | None:
    """Return which notices a job with this spec (JSON) wants; None where it leaves that to the sender's settings."""
    notify = json.loads(spec).get("notify") if '"notify"' in spec else None
    return None if notify is None else tuple(map(Kind, notify["on"]))


def read_format(text: object, where: str) -> Format:
    """Return the form of messages. Raises ConfigError, which begins with `where`."""
    try:
        return Format(str(text))
    except ValueError:
        raise ConfigError(f"{where} must be one of {', '.join(Format)}, not {text!r}") from None


def kinds_in(text: str) -> list[str]:
    """Return the names in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_kinds(names: object, where: str = "[notify]: on") -> tuple[Kind, ...]:
    """Return the kinds of notices that are wanted. Raises ConfigError."""
    if not isinstance(names, Collection) or isinstance(names, str) or not names:
        raise ConfigError(f"{where} must be a list of {', '.join(Kind)}")
    if unknown := [name for name in names if name not in set(Kind)]:
        raise ConfigError(f"{where}: there is no notice {unknown[0]!r}; choose from {', '.join(Kind)}")
    return tuple(kind for kind in Kind if kind in names)
