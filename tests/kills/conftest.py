"""What the tests of kills share: a gateway and fork servers for a module, and whether a child can be traced here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.gateway_process import API_KEY
from tests.kills.jobs import Workspace, a_workspace
from tests.kills.launcher import ForkServerPool, fork_server_pool, why_untraced

POOL_SIZE = 2


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A gateway, and a place for jobs."""
    with pytest.MonkeyPatch.context() as environment, a_workspace(tmp_path_factory.mktemp("kills")) as opened:
        environment.setenv("ONEROUTER_API_KEY", API_KEY)
        yield opened


@pytest.fixture(scope="module")
def fork_servers() -> Iterator[ForkServerPool]:
    """Processes whose children die."""
    with fork_server_pool(POOL_SIZE) as opened:
        yield opened


@pytest.fixture(scope="session")
def traced() -> None:
    """Fail in CI, skip elsewhere, where no child can be traced."""
    if reason := why_untraced():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no child can be traced: {reason}")
        pytest.skip(reason)
