"""The fleet's command line: `python -m orchestrator.fleet worker|beat|fleet`.

Exit codes: 0 told to stop · 1 it ended by itself, or would not end in time · 2 refused to start, and said why.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator import log
from orchestrator.domain.errors import ConfigError, LedgerTooNew, OrchestratorError
from orchestrator.domain.queues import Queue
from orchestrator.engine import process_memory

# One process for each: neither a create that hangs nor a long download keeps batches from being looked at.
POOLS: Final = ((Queue.CONTROL,), (Queue.TRANSFER,), (Queue.PLAN, Queue.COLLECT))
FAILED: Final = 1
WRONG: Final = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def worker(
    queues: Annotated[
        str, typer.Option(help="Which work to do, as in plan,collect. Without it: all, in three processes.")
    ] = "",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Steps at a time in one process. Default: 8; 2 with plan or collect.")
    ] = None,
) -> None:
    """Work on what is due until told to stop (Ctrl-C, SIGTERM); steps under way are finished first."""
    if queues:
        from orchestrator.fleet.start import run_worker

        sys.exit(run_worker(_queues(queues), threads))
    sys.exit(_pool(threads))


@app.command()
def beat() -> None:
    """Send a tick every few seconds, until told to stop. Run two, in two places: ticks may come twice."""
    from orchestrator.fleet.start import run_beat

    sys.exit(run_beat())


@app.command()
def fleet(
    workers: Annotated[int, typer.Option(min=1, help="How many workers, of three processes each.")] = 2,
    beats: Annotated[int, typer.Option(min=1, help="How many beats.")] = 2,
) -> None:
    """Run a whole fleet on this machine, with a broker of its own unless ORCHESTRATOR_BROKER_URL names one."""
    from orchestrator.fleet.embedded import EmbeddedBroker
    from orchestrator.fleet.supervise import Supervisor

    with tempfile.TemporaryDirectory(prefix="broker-") as folder:
        broker = None
        if "ORCHESTRATOR_BROKER_URL" not in os.environ:
            broker = EmbeddedBroker(Path(folder))
            broker.start()
            os.environ["ORCHESTRATOR_BROKER_URL"] = broker.url  # before anything reads it that the processes share
        try:
            from orchestrator.fleet.start import preload, run_beat

            preload()
            pool = Supervisor()
            for number in range(workers):
                pool.start(f"worker {number}", partial(code_of, partial(_pool, None)))
            for number in range(beats):
                pool.start(f"beat {number}", partial(code_of, run_beat))
            code = pool.run()
        finally:
            if broker is not None:
                broker.stop()
    sys.exit(code)


def _pool(threads: int | None) -> int:
    """Run a worker's processes beside each other; return the exit code."""
    from orchestrator.fleet.start import preload, run_worker
    from orchestrator.fleet.supervise import Supervisor

    preload()
    pool = Supervisor()
    for queues in POOLS:
        pool.start(",".join(queues), partial(code_of, partial(run_worker, queues, threads)))
    return pool.run()


def _queues(text: str) -> tuple[Queue, ...]:
    known = {queue.value: queue for queue in Queue}
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--queues: {unknown[0]!r} is no lane; there are: {', '.join(known)}")
    return tuple(known[name] for name in names)


def main() -> None:
    """Run the command line and exit."""
    process_memory.give_back()
    log.configure(os.environ.get("ORCHESTRATOR_LOG", "warning"), stream_is_terminal=sys.stderr.isatty())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until somebody takes it who has something to finish
    sys.exit(code_of(app))


def code_of(act: Callable[[], int | None]) -> int:
    """Do it, and return the exit code; an error of ours is told in a sentence."""
    try:
        return act() or 0
    except (ConfigError, LedgerTooNew) as error:
        typer.echo(f"error: {log.printable(str(error))}", err=True)
        return WRONG
    except OrchestratorError as error:  # of a start; once at work, a process goes on whatever happens
        typer.echo(f"error: {log.printable(str(error))}", err=True)
        return FAILED


if __name__ == "__main__":
    main()
