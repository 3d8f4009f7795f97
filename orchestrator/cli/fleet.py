"""`orchestrator worker | beat | fleet | gateway`: thin wrappers of `orchestrator.fleet` and `orchestrator.gateway`."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.queues import Queue


def _metrics_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where metrics are served."""
    port = click.option(
        "--metrics-port",
        type=click.IntRange(1, 65_000),
        help="Serve metrics for Prometheus here, and on the next ports for further processes.",
    )
    host = click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to serve them at.")
    return port(host(command))


@click.command
@click.option("--queues", default="", help="Queues to serve, as in plan,collect. Default: all, in three processes.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Steps at a time in one process. Default: 8; 2 with plan or collect.",
)
@_metrics_options
def worker(queues: str, threads: int | None, metrics_port: int | None, metrics_host: str) -> None:
    """Serve a fleet's queues until stopped.

    On Ctrl-C or SIGTERM, running steps are finished first.
    """
    from orchestrator.fleet import pool

    _end_on_signals()
    sys.exit(pool.run_worker(_queues(queues), threads, _place(metrics_host, metrics_port)))


@click.command
def beat() -> None:
    """Send the fleet a tick every few seconds.

    Run two, on two machines: extra ticks do no harm.
    """
    from orchestrator.fleet import pool

    _end_on_signals()
    sys.exit(pool.run_beat())


@click.command
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many workers, of three processes each.",
)
@click.option("--beats", type=click.IntRange(min=1), default=2, show_default=True, help="How many beats.")
@_metrics_options
def fleet(workers: int, beats: int, metrics_port: int | None, metrics_host: str) -> None:
    """Run workers and beats on this machine.

    Says when all answer. Starts its own broker unless ORCHESTRATOR_BROKER_URL names one.
    """
    from orchestrator.cli.terminal import show
    from orchestrator.fleet import pool

    _end_on_signals()
    sys.exit(pool.exit_code_of(lambda: pool.run_fleet(workers, beats, show, _place(metrics_host, metrics_port))))


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def gateway(arguments: tuple[str, ...]) -> None:
    """Serve the Batches API on this machine.

    A simulated model answers; `orchestrator gateway --help` has the options.
    """
    from orchestrator.gateway.__main__ import main

    sys.exit(main(list(arguments)))


def _place(host: str, port: int | None) -> tuple[str, int] | None:
    return None if port is None else (host, port)


def _end_on_signals() -> None:
    """Exit at once on a signal that arrives before the first step starts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))


def _queues(text: str) -> tuple[Queue, ...]:
    from orchestrator.domain.queues import Queue

    if not text:
        return ()
    known = {queue.value: queue for queue in Queue}
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--queues: there is no queue {unknown[0]!r}; choose from {','.join(known)}")
    return tuple(known[name] for name in names)


COMMANDS = (worker, beat, fleet, gateway)
