"""A real Redis-protocol server for any test suite: on a port of its own, empty, and gone with the test."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.domain.errors import ConfigError
from orchestrator.fleet.embedded import EmbeddedBroker, running_broker


@contextlib.contextmanager
def a_broker(folder: Path, *, is_persistent: bool = False) -> Iterator[EmbeddedBroker]:
    """Run a broker; where there is no server to run, skip the test on a laptop and fail it in CI."""
    with contextlib.ExitStack() as stack:
        try:
            broker = stack.enter_context(running_broker(folder, is_persistent=is_persistent))
        except ConfigError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        yield broker


def client_of(broker: EmbeddedBroker, *, timeout_s: float = 5.0) -> redis.Redis:
    """Return a client that waits no longer than it is told to."""
    return redis.Redis.from_url(broker.url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
