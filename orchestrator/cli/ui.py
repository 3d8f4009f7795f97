"""`orchestrator ui`: the jobs of a work folder in a browser."""

from __future__ import annotations

import secrets
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.arguments import work_option
from orchestrator.cli.terminal import show
from orchestrator.domain.errors import ConfigError
from orchestrator.engine.interrupts import say_stopping, signals_stop

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from orchestrator.api.background import Background
    from orchestrator.domain.model import JobId

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
TOKEN_LENGTH_MIN: Final = 16
ALIVE_S: Final = 1.0  # how often to look whether the server has ended by itself


@click.command
@work_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8484, show_default=True, help="0: any free port.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the token that a browser must give. Needed where other machines can reach --host.",
)
@click.option("--read-only", is_flag=True, help="Only look: nobody can act on a job there.")
def ui(work: str | None, host: str, port: int, token_file: Path | None, read_only: bool) -> None:
    """Show the jobs of a work folder in a browser, and act on them.

    It is for this machine alone. Ctrl-C ends it; a job that was started there waits, and can be run again.
    """
    token = _token(host, token_file)
    from orchestrator.api import commands
    from orchestrator.api.background import Background
    from orchestrator.api.decision import command
    from orchestrator.api.viewer import Viewer
    from orchestrator.engine.opening import opened_workspace
    from orchestrator.web.access import Access
    from orchestrator.web.app import make_app

    with opened_workspace(commands.work_folder(work), must_exist=True) as workspace, _listening(host, port) as bound:
        at = bound.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        hosts = (
            frozenset(f"{one}:{at}" for one in ("127.0.0.1", "localhost", "[::1]")) if host in LOOPBACK else frozenset()
        )
        show(f"the jobs of {workspace.work}\n")
        show(f"  http://{name}:{at}/" + ("" if token_file else f"?token={token}"))
        ends = "Ctrl-C ends it, and no job." if read_only else "Ctrl-C ends it; jobs that it runs can be run again."
        show(f"\nThe token opens the page once; then the browser keeps a cookie. {ends}")
        background = None if read_only else Background(is_shared=workspace.lock is None)
        app = make_app(Viewer(workspace), Access(hosts=hosts, token=token), background)
        for job_id in _serve(app, bound, background):
            show(f"{job_id} is not at its end. To go on with it:\n  {command(workspace, 'run', job_id)}")


def _token(host: str, token_file: Path | None) -> str:
    if token_file is None:
        if host not in LOOPBACK:
            raise ConfigError(
                f"--host {host}: other machines may reach it, and the page shows rows. Make a token for them: "
                "`python -c 'import secrets; print(secrets.token_urlsafe())' > token`, then add `--token-file token`"
            )
        return secrets.token_urlsafe(24)
    token = token_file.read_text().strip()
    if len(token) < TOKEN_LENGTH_MIN:
        raise ConfigError(f"{token_file}: a token has at least {TOKEN_LENGTH_MIN} characters")
    return token


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"cannot listen at {host}, port {port}: {error.strerror}. Give another --port") from None


def _serve(app: Starlette, bound: socket.socket, background: Background | None) -> list[JobId]:
    """Serve until Ctrl-C or SIGTERM, and return the jobs whose runs that ended; a second signal leaves at once."""
    import uvicorn

    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    # In a thread uvicorn leaves signals alone: it would raise them again while a call that costs money is under way.
    server, stop = uvicorn.Server(config), threading.Event()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})

    def tell(_signal: str) -> None:
        if background is not None and background.running():
            say_stopping("interrupted")

    with signals_stop(stop, tell=tell):
        thread.start()
        while thread.is_alive() and not stop.wait(ALIVE_S):
            pass
        server.should_exit = True
        stopped = [] if background is None else background.stop()
        thread.join()
    return stopped


COMMANDS = (ui,)
