"""What tests of several folders share."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers.s3 import S3Server, s3_server
from tests.servers.shared import FOLDER
from tests.tiers import QUICK, QUICK_EXPRESSION, examples, is_slow_file


def pytest_configure(config: pytest.Config) -> None:
    """Tell the test modules, before they are imported, which tier is run, and Hypothesis how many cases to draw."""
    if config.option.markexpr == QUICK_EXPRESSION:
        os.environ[QUICK] = "1"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
    config.option.randomly_reset_seed = False  # tests seed what they draw; before each of 5,000 it took seconds
    settings.register_profile("tier", max_examples=examples(100), deadline=None, database=None)
    settings.load_profile("tier")
    gc.disable()  # collecting makes 10,000 objects that stay: to look for garbage among them took a third of its time


def pytest_collection_finish() -> None:
    """Look for garbage again, but not among what was collected."""
    gc.enable()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave slow files out of the quick tier: to import them alone takes seconds of each process."""
    return True if QUICK in os.environ and is_slow_file(collection_path) else None


@pytest.fixture(scope="session", autouse=True)
def servers_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Name the folder in which the processes of a test run find the servers that they share."""
    base = tmp_path_factory.getbasetemp()
    os.environ[FOLDER] = str(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print messages on one line, so that tests can look for a sentence; tests of the layout set their own width."""
    monkeypatch.setenv("COLUMNS", "1000")


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
