"""The gateway as a process: options, socket, signals.

Exit codes: 0 after SIGTERM or Ctrl-C; 2 for a port that cannot be had, an unreadable fault plan, or a state folder in
use.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from orchestrator.gateway.app import create_app
from orchestrator.gateway.faults import FaultPlanError, read_plan
from orchestrator.gateway.settings import GatewayConfig, LineShape, ResultMode
from orchestrator.gateway.store import StateFolderInUse
from orchestrator.gateway.wire import CuttableProtocol

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
KEEP_ALIVE_S: Final = 75
SHUTDOWN_S: Final = 1  # a request that hangs must not delay the shutdown


class Server(uvicorn.Server):
    """uvicorn's server; it prints its address once it listens."""

    ready_file: Path | None = None
    url: str = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"gateway: {self.url}/v1", flush=True)  # noqa: T201 - the one line a person waits for
        if self.ready_file is not None:
            temporary = self.ready_file.with_name(f"{self.ready_file.name}.partial")
            temporary.write_text(json.dumps({"url": self.url, "pid": os.getpid()}), encoding="utf-8")
            temporary.replace(self.ready_file)


def main(arguments: list[str] | None = None) -> int:
    """Run a server until a signal stops it; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.die_with_parent:
        _die_with_parent()
    try:
        plan = read_plan(options.faults) if options.faults else None
        listening = _listen(options.host, options.port)
        app = create_app(
            GatewayConfig(
                state=options.state,
                api_key=options.api_key or os.environ.get("GATEWAY_API_KEY") or "local",
                duration_s=options.duration_s,
                result_mode=ResultMode(options.result_mode),
                line_shape=LineShape(options.line_shape),
                requests_max=options.max_requests,
                size_bytes_max=options.max_bytes,
                accepts_duplicates=options.accept_duplicates,
                cancelled_word=options.cancelled_word,
                results_url=options.results_url,
                faults=plan,
            )
        )
    except (FaultPlanError, StateFolderInUse, OSError) as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201
        return 2
    # uvicorn raises the signal again after its shutdown; a requested stop exits with 0.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _ignored)
    server = Server(
        uvicorn.Config(
            app,
            http=CuttableProtocol,
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    )
    server.ready_file = options.ready_file
    host, port = listening.getsockname()[:2]
    server.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        server.run(sockets=[listening])
    finally:
        app.state.service.close()
        listening.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="orchestrator gateway", description="A local server of Batch APIs.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at; default: %(default)s")
    parser.add_argument("--port", type=int, default=8899, help="default: %(default)s; 0 = any free port")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".gateway"),
        metavar="DIR",
        help="the folder for its state; default: %(default)s",
    )
    parser.add_argument("--api-key", help="default: the environment's GATEWAY_API_KEY, else the word 'local'")
    parser.add_argument("--duration-s", type=float, default=2.0, help="how long a batch takes; default: %(default)s")
    parser.add_argument(
        "--result-mode",
        choices=[mode.value for mode in ResultMode],
        default="status-object",
        help="OneRouter: results at a link (status-object), as the status itself (jsonl-stream), or once it is done "
        "(mixed); default: %(default)s",
    )
    parser.add_argument(
        "--line-shape",
        choices=[shape.value for shape in LineShape],
        default="openai",
        help="OneRouter: whose form result lines have; default: %(default)s",
    )
    parser.add_argument("--faults", type=Path, metavar="FILE.toml", help="a fault plan: docs/gateway.md#the-fault-plan")
    parser.add_argument("--max-requests", type=int, default=100_000, metavar="N", help="more than that is a 413")
    parser.add_argument("--max-bytes", type=int, default=200_000_000, metavar="N", help="more than that is a 413")
    parser.add_argument("--accept-duplicates", action="store_true", help="take a custom_id twice in one batch")
    parser.add_argument("--cancelled-word", default="CANCELLED", help="the status of a cancelled batch")
    parser.add_argument("--results-url", metavar="URL", help="base of result links; default: the host the client asked")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="write url and pid there once it listens")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the parent process ends (Linux)")
    return parser


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise OSError(f"cannot listen on {host}:{port}: {reason}") from error
    return listening


def _die_with_parent() -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _ignored(_signal: int, _frame: FrameType | None) -> None:
    return


if __name__ == "__main__":
    sys.exit(main())
