"""A real gateway process for any test suite: its own port, killed with its whole process group.

with running_gateway(tmp_path / "state", "--duration-s", "0") as gateway:
    httpx.post(f"{gateway.url}/batches", headers=gateway.headers, json=…)
    gateway.kill()      # kill -9; start it again on the same state folder and port with `restart()`
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx

from tests.servers.forked import ForkedProcess

ROOT: Final = Path(__file__).resolve().parent.parent
API_KEY: Final = "test-key"
START_DEADLINE_S: Final = 30.0
STOP_DEADLINE_S: Final = 10.0
LOOK_EVERY_S: Final = 0.02


class GatewayProcess:
    """A gateway in a process of its own. `url` ends in `/v1`."""

    api_key: Final = API_KEY
    headers: Final = {"Authorization": f"Bearer {API_KEY}"}

    def __init__(self, state: Path, arguments: tuple[str, ...]) -> None:
        self.state = state
        self.arguments = arguments
        self._port = 0
        self.start()

    def start(self) -> None:
        """Start the process and return once it listens."""
        self.state.mkdir(parents=True, exist_ok=True)
        ready_file = self.state / "ready.json"
        ready_file.unlink(missing_ok=True)
        arguments = ["--state", str(self.state), "--port", str(self._port), "--ready-file", str(ready_file)]
        arguments += ["--die-with-parent", "--api-key", API_KEY, *self.arguments]
        self.process = ForkedProcess(
            "orchestrator.gateway", arguments, folder=ROOT, environment=os.environ, output=self.state / "output.log"
        )
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the gateway did not start: {(self.state / 'output.log').read_text()}")
            time.sleep(LOOK_EVERY_S)
        self.base_url: str = json.loads(ready_file.read_text())["url"]
        self.url = f"{self.base_url}/v1"
        self._port = int(self.base_url.rpartition(":")[2])

    def restart(self) -> None:
        """Start again after `kill()` or `stop()`, on the same port and state folder."""
        self.start()

    def kill(self) -> None:
        """Kill -9 the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_DEADLINE_S)

    def stop(self) -> int:
        """Ask it to stop, as an operator would; return its exit code."""
        self.process.terminate()
        return self.process.wait(STOP_DEADLINE_S)

    def bill(self) -> dict[str, Any]:
        """Return `GET /admin/bill`."""
        return self._admin("GET", "bill")

    def batches(self) -> list[dict[str, Any]]:
        """Return all batches the server knows, oldest first."""
        listed: list[dict[str, Any]] = self._admin("GET", "batches")["batches"]
        return listed

    def set_faults(self, plan: Mapping[str, Any]) -> None:
        """Put a fault plan in force; `{}` ends all faults."""
        self._admin("PUT", "faults", plan)

    def _admin(self, method: str, name: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        address = f"{self.base_url}/admin/{name}"
        answer = _client().request(method, address, headers=self.headers, json=content)
        answer.raise_for_status()
        shown: dict[str, Any] = answer.json()
        return shown


@cache
def _client() -> httpx.Client:
    """Return one client for all: to make one reads all the certificates of the world, and tests ask often."""
    return httpx.Client(verify=False, trust_env=False, timeout=120, limits=httpx.Limits(max_keepalive_connections=0))


@contextlib.contextmanager
def running_gateway(state: Path, *arguments: str) -> Iterator[GatewayProcess]:
    """Run `python -m orchestrator.gateway` on a free port; `arguments` are its flags. Killed at the end."""
    gateway = GatewayProcess(state, arguments)
    try:
        yield gateway
    finally:
        gateway.kill()
