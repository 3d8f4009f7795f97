"""A real S3 over HTTP for any test suite: moto's server in a process of its own, one for the test run.

s3 = s3_server()
bucket = s3.new_bucket()            # each test has its own
s3.set_environment(monkeypatch)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Final, NoReturn

import httpx
import pytest

from orchestrator.ports import JobFiles
from orchestrator.storage.open import open_job_files
from tests.servers.shared import shared

START_DEADLINE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05
HOST: Final = "127.0.0.1"
SIGNED: Final = (  # nobody checks it, but what is not signed at all may not replace an object
    "AWS4-HMAC-SHA256 Credential=test-key-id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)
PROGRAM: Final = """
import ctypes, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive a killed test process
from moto.server import main
main()
"""


class S3Server:
    """An S3 that takes any credentials. `environment` is what a program needs to talk to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=self.url, timeout=60, trust_env=False, headers={"authorization": SIGNED})

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": "test-key-id",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def set_environment(self, patch: pytest.MonkeyPatch) -> None:
        """Make this the S3 of the process's environment."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in self.environment.items():
            patch.setenv(name, value)

    def new_bucket(self) -> str:
        """Make an empty bucket, and return its name."""
        name = f"test-{secrets.token_hex(8)}"
        self._client.put(f"/{name}").raise_for_status()
        return name

    def keys(self, bucket: str) -> list[str]:
        """Return what is in a bucket, hidden things too, sorted; of the first 1,000."""
        return sorted(_texts(self._client.get(f"/{bucket}?list-type=2").raise_for_status().text, "Key"))

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Return the keys of multipart uploads that were begun, and neither completed nor aborted."""
        return sorted(_texts(self._client.get(f"/{bucket}?uploads").raise_for_status().text, "Key"))

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object, replacing what is there."""
        self._client.put(f"/{bucket}/{key}", content=content).raise_for_status()

    def delete(self, bucket: str, key: str) -> None:
        """Take an object away."""
        self._client.delete(f"/{bucket}/{key}").raise_for_status()


def s3_server() -> S3Server:
    """Return the test run's server. Without moto: skip the test on a laptop, fail it in CI."""
    if find_spec("moto") is None or find_spec("obstore") is None:
        _without("moto[server] and obstore are not installed: pip install -e '.[dev]'")
    return _server()


def _without(words: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


def s3_job_files() -> JobFiles:
    """Return an empty job folder in a bucket of its own."""
    server = s3_server()
    with pytest.MonkeyPatch.context() as patch:
        server.set_environment(patch)
        return open_job_files(f"s3://{server.new_bucket()}/work/job-1")


def object_job_files() -> JobFiles:
    """Return an empty job folder over a store in memory, in the root of it."""
    if find_spec("obstore") is None:
        _without("obstore is not installed: pip install -e '.[dev]'")
    from obstore.store import MemoryStore

    from orchestrator.storage.object_store import ObjectJobFiles

    return ObjectJobFiles(MemoryStore(), "memory")


@cache
def _server() -> S3Server:
    return S3Server(shared("s3", "tests.servers.s3:running_s3"))


@contextlib.contextmanager
def running_s3() -> Iterator[str]:
    """Run a server and give its URL."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    url = f"http://{HOST}:{port}"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, "-H", HOST, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the S3 server did not start")
            time.sleep(LOOK_EVERY_S)
        yield url
    finally:
        process.kill()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


def _texts(xml: str, tag: str) -> list[str]:
    return [piece.partition(f"</{tag}>")[0] for piece in xml.split(f"<{tag}>")[1:]]
