"""What all acceptance tests need: a gateway process, and a key in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command_line import CommandLine, command_line
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway
from tests.servers.hurry import hurried as hurried


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway whose batches end at once."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as running:
        yield running


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """A command line with the right key."""
    return command_line(tmp_path / "user")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The right key, in this process's own environment."""
    monkeypatch.setenv("ONEROUTER_API_KEY", API_KEY)
    return API_KEY
