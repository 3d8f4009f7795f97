"""Sends a notice: one POST to an address of the user's, signed where it can be.

Rule 1: nothing is repeated here, no redirect is followed, and an exchange has a deadline as a whole.
Rule 2: an address may hold a secret (Slack's, Discord's): messages name its scheme and host alone.

The signature is that of Standard Webhooks 1.0.0 (https://www.standardwebhooks.com, read 2026-12-01): HMAC-SHA256 of
`id.timestamp.body`, with a key in Base64 that may begin with `whsec_`, sent as `v1,<base64>` in `webhook-signature`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import httpx

from orchestrator import log
from orchestrator.domain.errors import BadRequest, ConfigError, Unavailable
from orchestrator.domain.notice_messages import Message
from orchestrator.domain.notices import Format, Kind, Notify, kinds_in
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.connection import Connection
from orchestrator.providers.http.exchange import Body, Timeouts
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.http.url_policy import Destination, Origin, parse
from orchestrator.settings import Settings

SENDING_S: Final = 15.0  # one POST, from the connection to the end of the answer
PREFIX: Final = "whsec_"
KEY_BYTES_MIN: Final = 16  # the specification asks for 24 to 64; a shorter key is no secret
GONE: Final = 410  # the receiver wants no more: "disable the endpoint"


class NotReceived(Exception):
    """A notice was not received, and why; `is_final` where another try is not wanted."""

    def __init__(self, words: str, *, is_final: bool = False) -> None:
        super().__init__(words)
        self.is_final = is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where notices go, with the secrets of it. Raises ConfigError where it cannot be used."""

    url: str = field(repr=False)
    format: Format
    on: tuple[Kind, ...]
    secret: str = field(default="", repr=False)
    named_by: str  # the variable that has the address, for messages
    secret_named_by: str = ""

    def __post_init__(self) -> None:
        log.hide(self.url)
        log.hide(self.secret)
        self.place  # noqa: B018 - reading it checks it
        if self.format is Format.JSON and self.secret:
            _key(self.secret, self.secret_named_by)
        if self.format is Format.NTFY and self.secret and not (self.secret.isascii() and self.secret.isprintable()):
            raise ConfigError(f"{self.secret_named_by}: no access token of ntfy holds such characters")
        if self.format is Format.SLACK and self.secret:
            raise ConfigError(f"{self.secret_named_by} is not for slack, whose address is the secret: unset it")

    @property
    def place(self) -> Destination:
        """The address, parsed."""
        try:
            return parse(self.url)
        except BadRequest as error:
            raise ConfigError(f"{self.named_by}: {error}. Set it to the whole address, with https://") from None

    @property
    def shown(self) -> str:
        """The address without its path, which may be a secret."""
        return _root(self.place.origin)


def receiver_of_job(notify: Notify, environment: Mapping[str, str]) -> Receiver:
    """Return where a job's `[notify]` sends notices. Raises ConfigError."""
    return Receiver(
        url=_variable(notify.url_env, environment),
        format=notify.format,
        on=notify.on,
        secret=_variable(notify.secret_env, environment) if notify.secret_env else "",
        named_by=notify.url_env,
        secret_named_by=notify.secret_env,
    )


def receiver_of_settings(settings: Settings) -> Receiver | None:
    """Return where this machine's settings send notices of jobs without a `[notify]`; None: nowhere.

    Raises ConfigError.
    """
    if not settings.notify_url:
        return None
    return Receiver(
        url=settings.notify_url,
        format=Format(settings.notify_format),
        on=tuple(map(Kind, kinds_in(settings.notify_on))),
        secret=settings.notify_secret,
        named_by="ORCHESTRATOR_NOTIFY_URL",
        secret_named_by="ORCHESTRATOR_NOTIFY_SECRET",  # noqa: S106 - a variable's name
    )


def send(receiver: Receiver, message: Message, *, id: str, now: datetime, environment: Mapping[str, str]) -> int:  # noqa: A002 - the standard's word
    """Send one notice and return the status of the answer. Raises NotReceived, ConfigError.

    Args:
        id: of the notice; the same for each try, so that a receiver knows a repetition.
    """
    headers = {**message.headers, **_proof(receiver, message.body, id, int(now.timestamp()))}
    client = HttpClient(
        _root(receiver.place.origin),
        Secret(receiver.url),
        timeouts=Timeouts(connect_s=5, read_s=SENDING_S, write_s=SENDING_S, upload_s=SENDING_S),
        auth=httpx.Auth(),
        connection=Connection.of_environment(environment, headers),
        name="notify",
    )
    body = Body(blocks=(message.body,), size_bytes=len(message.body), content_type=message.content_type)
    try:
        answer = client.upload(receiver.place.target, body)
    except Unavailable as error:
        words = f"{receiver.shown}: {error}"
    else:
        if 200 <= answer.status < 300:
            return answer.status
        words = f"{receiver.shown} answered {answer.status}"
        raise NotReceived(words, is_final=answer.status == GONE)
    finally:
        client.close()
    raise NotReceived(log.without_secrets(words))


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:  # noqa: A002 - the standard's word
    """Return the value of `webhook-signature`. Raises ConfigError for a key that is none."""
    signed = f"{id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(_key(secret, 'the secret'), signed, 'sha256')).decode()}"


def _proof(receiver: Receiver, body: bytes, id: str, timestamp: int) -> dict[str, str]:  # noqa: A002
    if receiver.format is Format.NTFY:
        return {"Authorization": f"Bearer {receiver.secret}"} if receiver.secret else {}
    if receiver.format is not Format.JSON:
        return {}
    named = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    return named | ({"webhook-signature": signature(receiver.secret, id, timestamp, body)} if receiver.secret else {})


def _key(secret: str, named_by: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES_MIN:
        raise ConfigError(
            f"{named_by}: a signing secret is {KEY_BYTES_MIN} bytes or more in Base64, after {PREFIX!r}. Make one: "
            f"echo {PREFIX}$(openssl rand -base64 32)"
        )
    return key


def _variable(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "")
    if not value:
        raise ConfigError(f"the environment variable {name} is not set: [notify] takes its value from it")
    return value


def _root(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == {"http": 80, "https": 443}[origin.scheme] else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}"
