"""Runs a worker's processes, or a whole fleet on one machine with a broker of its own.

Exit codes: 0 asked to stop · 1 it ended by itself, or did not end in time · 2 refused to start, with a message.

Rule: the Celery app is imported only after the broker's address is known: the app reads it once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from orchestrator import settings as configuration
from orchestrator.domain.errors import ConfigError, LedgerTooNew, OrchestratorError
from orchestrator.domain.queues import Queue
from orchestrator.fleet.supervise import Supervisor
from orchestrator.log import say

# One process for each: neither a create that hangs nor a long download blocks the polls.
POOLS: Final = ((Queue.CONTROL,), (Queue.TRANSFER,), (Queue.PLAN, Queue.COLLECT))
FAILED: Final = 1
WRONG: Final = 2
BROKER: Final = "ORCHESTRATOR_BROKER_URL"
Place = tuple[str, int]  # a host and a port
OnReady = Callable[[], object]
_NOBODY: Final[OnReady] = lambda: None  # noqa: E731 - a default that does nothing


def run_worker(queues: Sequence[Queue], threads: int | None, metrics: Place | None = None) -> int:
    """Run a worker until stopped: one process for these queues, or, without queues, one for each of POOLS.

    Args:
        metrics: the host and the port to serve metrics at: of several processes the first one's, and the next ports.
    """
    if queues:
        return exit_code_of(partial(_one_worker, queues, threads, metrics))
    return _worker_pool(threads, metrics)


def run_beat() -> int:
    """Run a beat until stopped."""
    return exit_code_of(_one_beat)


def run_fleet(workers: int, beats: int, tell: Callable[[str], None], metrics: Place | None = None) -> int:
    """Run workers and beats until stopped; with a broker, unless ORCHESTRATOR_BROKER_URL names one.

    Args:
        tell: prints a line: what the fleet uses, and that it is ready.
        metrics: as of `run_worker`, for all workers.
    """
    with tempfile.TemporaryDirectory(prefix="broker-") as folder:
        broker = None
        if BROKER not in os.environ:
            from orchestrator.fleet.embedded import EmbeddedBroker

            broker = EmbeddedBroker(Path(folder))
            broker.start()
            os.environ[BROKER] = broker.url
        try:
            settings = configuration.load(os.environ)
            from orchestrator.fleet.readiness import Readiness, setup_lines

            for line in setup_lines(settings, workers, beats, is_own_broker=broker is not None):
                tell(line)
            _preload()
            ready = Readiness(workers * len(POOLS), tell)
            pool = Supervisor(on_look=ready.look)
            for number in range(workers):
                pool.start(
                    f"worker {number}", partial(_worker_pool, None, _next(metrics, number * len(POOLS)), ready.one_more)
                )
            for number in range(beats):
                pool.start(f"beat {number}", run_beat)
            return pool.run()
        finally:
            if broker is not None:
                broker.stop()


def exit_code_of(act: Callable[[], int]) -> int:
    """Run `act`, and return the exit code; one of our errors is printed as a message."""
    try:
        return act()
    except (ConfigError, LedgerTooNew) as error:
        say(f"error: {error}")
        return WRONG
    except OrchestratorError as error:  # at the start; a running process continues after such errors
        say(f"error: {error}")
        return FAILED


def _next(metrics: Place | None, number: int) -> Place | None:
    """Return the place of the process with this number, from 0."""
    return None if metrics is None else (metrics[0], metrics[1] + number)


def _worker_pool(threads: int | None, metrics: Place | None, on_ready: OnReady = _NOBODY) -> int:
    _preload()
    pool = Supervisor()
    for number, queues in enumerate(POOLS):
        act = partial(_one_worker, queues, threads, _next(metrics, number), on_ready)
        pool.start(",".join(queues), partial(exit_code_of, act))
    return pool.run()


def _preload() -> None:
    from orchestrator.fleet.start import preload

    preload()


def _one_worker(
    queues: Sequence[Queue], threads: int | None, metrics: Place | None, on_ready: OnReady = _NOBODY
) -> int:
    from orchestrator.fleet import start

    return start.run_worker(queues, threads, metrics, on_ready)


def _one_beat() -> int:
    from orchestrator.fleet import start

    return start.run_beat()
