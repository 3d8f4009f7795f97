"""Fork servers, as many as run at a time, and whoever waits for what their children come to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from tests.gateway_process import ROOT
from tests.kills.fork_request import Ended, ForkRequest, read_ended

POOL_SIZE: Final = 3
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def why_untraced() -> str:
    """Return why no child can be traced on this machine; "" where one can."""
    command = [sys.executable, "-m", "tests.kills.tracer"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


class ForkServer:
    """One process that carries out one request after the other."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        environment["PYTHONPATH"] = str(ROOT)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.fork_server"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def carry_out(self, request: ForkRequest) -> Ended:
        """Run a command as a process, and return how it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(request.to_json())
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the fork server has ended: {self._process.wait()}"
        return read_ended(answer, Path(request.said))

    def close(self) -> None:
        """End it; a child of its own ends with it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class ForkServerPool:
    """Several fork_servers; each thread that asks has one of its own."""

    def __init__(self, size: int) -> None:
        self._fork_servers: list[ForkServer] = []
        self._own = threading.local()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="fork-server")

    def each(self, act: Callable[[ForkServer, Task], Outcome], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Do something for each task, several at a time, and yield what comes of them as it comes."""
        waiting = [self._pool.submit(self._act, act, task) for task in tasks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for one in waiting:
                one.cancel()

    def _act(self, act: Callable[[ForkServer, Task], Outcome], task: Task) -> Outcome:
        if not hasattr(self._own, "fork_server"):
            with self._lock:
                self._own.fork_server = ForkServer()
                self._fork_servers.append(self._own.fork_server)
        return act(self._own.fork_server, task)

    def close(self) -> None:
        """End all of them."""
        self._pool.shutdown(cancel_futures=True)
        for fork_server in self._fork_servers:
            fork_server.close()


@contextmanager
def fork_server_pool(size: int = POOL_SIZE) -> Iterator[ForkServerPool]:
    """Open fork servers for the length of a block."""
    opened = ForkServerPool(size)
    try:
        yield opened
    finally:
        opened.close()
