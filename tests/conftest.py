"""What tests of several folders share."""

from __future__ import annotations

import pytest

from tests.servers.s3 import S3Server, s3_server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3, and the environment that leads to it."""
    server = s3_server()
    server.set_environment(monkeypatch)
    return server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A bucket of the test's own."""
    return s3.new_bucket()
