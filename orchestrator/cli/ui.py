"""`orchestrator ui`: the jobs of a work folder in a browser."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.arguments import work_option
from orchestrator.cli.terminal import show
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.api.viewer import Viewer
    from orchestrator.web.access import Access

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
TOKEN_LENGTH_MIN: Final = 16


@click.command
@work_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8484, show_default=True, help="0: any free port.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the token that a browser must give. Needed where other machines can reach --host.",
)
def ui(work: str | None, host: str, port: int, token_file: Path | None) -> None:
    """Show the jobs of a work folder in a browser.

    It is for this machine alone, and only looks. Ctrl-C ends it, and no job.
    """
    token = _token(host, token_file)
    from orchestrator.api import commands
    from orchestrator.api.viewer import Viewer
    from orchestrator.engine.opening import opened_workspace
    from orchestrator.web.access import Access

    with opened_workspace(commands.work_folder(work), must_exist=True) as workspace, _listening(host, port) as bound:
        at = bound.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        hosts = (
            frozenset(f"{one}:{at}" for one in ("127.0.0.1", "localhost", "[::1]")) if host in LOOPBACK else frozenset()
        )
        show(f"the jobs of {workspace.work}\n")
        show(f"  http://{name}:{at}/" + ("" if token_file else f"?token={token}"))
        show("\nThe token opens the page once; then the browser keeps a cookie. Ctrl-C ends it, and no job.")
        _serve(Viewer(workspace), Access(hosts=hosts, token=token), bound)


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


def _serve(viewer: Viewer, access: Access, bound: socket.socket) -> None:
    import uvicorn

    from orchestrator.web.app import make_app

    config = uvicorn.Config(
        make_app(viewer, access), lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[bound])


COMMANDS = (ui,)
