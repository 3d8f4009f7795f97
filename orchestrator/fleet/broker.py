"""The fleet's broker: a checked address, queue lengths, and a mark of the fleet that uses it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Claim
from orchestrator.domain.queues import QUEUE_OF, Queue
from orchestrator.fleet.app import ADVANCE, KEY_PREFIX

UNREACHABLE: Final = (OperationalError, RedisError, OSError)  # errors of an unreachable broker
OWNER_KEY: Final = f"{KEY_PREFIX}ledger"
OWNER_S: Final = 120  # how long the mark stays after its fleet has ended
EXPIRES_S: Final = 15  # of a message; a claim whose message has expired is handed out again
TIMEOUT_S: Final = 5


def refuse_open(url: str, *, insecure_allowed: bool) -> None:
    """Raise ConfigError for an address that is not a broker's, or is not protected from other users."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "redis+socket"):
        raise ConfigError(
            "ORCHESTRATOR_BROKER_URL must be redis://, rediss:// (TLS) or redis+socket:///path: "
            f"{parts.scheme or 'nothing'!r} is not one of these"
        )
    if parts.scheme == "redis+socket" or insecure_allowed or _is_here(parts.hostname):
        return
    missing = [
        *(() if parts.scheme == "rediss" else ("TLS (rediss://)",)),
        *(() if parts.password else ("a password",)),
    ]
    if missing:
        raise ConfigError(
            f"the broker {place_of(url)} is on another machine and lacks {' and '.join(missing)}: anyone on the "
            "network could read and send its messages. Change ORCHESTRATOR_BROKER_URL, or, on a network that is "
            "yours alone, set ORCHESTRATOR_BROKER_INSECURE=true"
        )


def _is_here(host: str | None) -> bool:
    if host in (None, "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def place_of(url: str) -> str:
    """Return the address without its password."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


class Broker:
    """A connection to the broker, beside Celery's own."""

    def __init__(self, url: str) -> None:
        self._place = place_of(url)
        self._client = redis.Redis.from_url(
            url.replace("redis+socket://", "unix://", 1),
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            decode_responses=True,
        )

    def mark(self, ledger_id: str, host: str) -> str:
        """Mark the broker as used by the fleet of a ledger, unless it has another mark; return the mark: `id host`.

        Raises ConfigError where the broker refuses us; RedisError or OSError where it does not answer, or answers with
        an error that will pass (out of memory, read-only).
        """
        try:
            self._client.set(OWNER_KEY, f"{ledger_id} {host}", nx=True, ex=OWNER_S)
            found = str(self._client.get(OWNER_KEY) or f"{ledger_id} {host}")
            if found.partition(" ")[0] == ledger_id:
                self._client.expire(OWNER_KEY, OWNER_S)
        except (AuthenticationError, NoPermissionError) as error:
            raise ConfigError(f"the broker {self._place} refuses this process: {error}") from None
        return found

    def ping(self) -> None:
        """Raise ConfigError where the broker refuses us, RedisError or OSError where it does not answer."""
        try:
            self._client.ping()
        except (AuthenticationError, NoPermissionError) as error:
            raise ConfigError(f"the broker {self._place} refuses this process: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class Queues:
    """The fleet's queues at the broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def lengths(self) -> Mapping[Queue, int]:
        """Return how many messages wait in each."""
        with self._app.connection_or_acquire() as connection:
            client = connection.default_channel.client
            with client.pipeline(transaction=False) as pipe:
                for queue in Queue:
                    pipe.llen(queue.value)
                return dict(zip(Queue, map(int, pipe.execute()), strict=True))

    def send(self, claims: Iterable[Claim]) -> None:
        """Send a message for each claim to its queue."""
        with self._app.producer_or_acquire() as producer:
            for claim in claims:
                unit = claim.unit
                self._app.send_task(
                    ADVANCE,
                    args=(claim.step.value, unit.job_id, unit.shard_no, unit.chunk_id, claim.token),
                    queue=QUEUE_OF[claim.step].value,
                    expires=EXPIRES_S,
                    producer=producer,
                )
