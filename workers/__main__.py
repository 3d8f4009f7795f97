"""The fleet's command line: `python -m workers worker|beat|fleet`.

Exit codes: 0 told to stop · 1 it ended by itself, or would not end in time · 2 refused to start, and said why.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator import log, memory
from orchestrator.domain.errors import ConfigError, LedgerTooNew, OrchestratorError
from orchestrator.domain.lanes import Lane

# One process for each: neither a create that hangs nor a long download keeps batches from being looked at.
CREWS: Final = ((Lane.CONTROL,), (Lane.TRANSFER,), (Lane.PLAN, Lane.COLLECT))
FAILED: Final = 1
WRONG: Final = 2
PROGRAM: Final = (sys.executable, "-m", "workers")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def worker(
    lanes: Annotated[
        str, typer.Option(help="Which work to do, as in plan,collect. Without it: all, in three processes.")
    ] = "",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Steps at a time in one process. Default: 8; 2 with plan or collect.")
    ] = None,
) -> None:
    """Work on what is due until told to stop (Ctrl-C, SIGTERM); steps under way are finished first."""
    if lanes:
        from workers.start import run_worker

        sys.exit(run_worker(_lanes(lanes), threads))
    from workers.supervise import Supervisor

    crew = Supervisor(environment=os.environ)
    extra = () if threads is None else ("--threads", str(threads))
    for some in CREWS:
        crew.start(",".join(some), (*PROGRAM, "worker", "--lanes", ",".join(some), *extra))
    sys.exit(crew.run())


@app.command()
def beat() -> None:
    """Send a tick every few seconds, until told to stop. Run two, in two places: ticks may come twice."""
    from workers.start import run_beat

    sys.exit(run_beat())


@app.command()
def fleet(
    workers: Annotated[int, typer.Option(min=1, help="How many workers, of three processes each.")] = 2,
    beats: Annotated[int, typer.Option(min=1, help="How many beats.")] = 2,
) -> None:
    """Run a whole fleet on this machine, with a broker of its own unless ORCHESTRATOR_BROKER_URL names one."""
    from workers.embedded import EmbeddedBroker
    from workers.supervise import Supervisor

    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="broker-") as folder:
        broker = None
        if "ORCHESTRATOR_BROKER_URL" not in environment:
            broker = EmbeddedBroker(Path(folder))
            broker.start()
            environment["ORCHESTRATOR_BROKER_URL"] = broker.url
        try:
            crew = Supervisor(environment=environment)
            for number in range(workers):
                crew.start(f"worker {number}", (*PROGRAM, "worker"))
            for number in range(beats):
                crew.start(f"beat {number}", (*PROGRAM, "beat"))
            code = crew.run()
        finally:
            if broker is not None:
                broker.stop()
    sys.exit(code)


def _lanes(text: str) -> tuple[Lane, ...]:
    known = {lane.value: lane for lane in Lane}
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--lanes: {unknown[0]!r} is no lane; there are: {', '.join(known)}")
    return tuple(known[name] for name in names)


def main() -> None:
    """Run the command line and exit."""
    memory.give_back()
    log.configure(os.environ.get("ORCHESTRATOR_LOG", "warning"), stream_is_terminal=sys.stderr.isatty())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until somebody takes it who has something to finish
    try:
        app()
    except (ConfigError, LedgerTooNew) as error:
        typer.echo(f"error: {log.printable(str(error))}", err=True)
        sys.exit(WRONG)
    except OrchestratorError as error:  # of a start; once at work, a process goes on whatever happens
        typer.echo(f"error: {log.printable(str(error))}", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
