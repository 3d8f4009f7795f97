"""The gateway's application, called in process under a clock that the test sets: no socket, no waiting."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from starlette.applications import Starlette

from orchestrator.gateway.app import create_app
from orchestrator.gateway.faults import FaultPlan, decode_plan
from orchestrator.gateway.settings import GatewayConfig

HOST: Final = "http://gateway.test"
START_S: Final = 1_765_972_352.0
DURATION_S: Final = 100.0
MODEL: Final = "gpt-4o-mini-batch"


class SetClock:
    """A clock that only the test and sleeps move; a sleep returns at once."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.slept_s: list[float] = []

    def now(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.now_s += delay_s


class Gateway:
    """One application and a client of it."""

    def __init__(self, app: Starlette, clock: SetClock, config: GatewayConfig) -> None:
        self.app = app
        self.clock = clock
        self.config = config

    def send(self, method: str, address: str, *, key: str | None = "local", **options: Any) -> httpx.Response:
        """Send one request; `key` None sends none. Raises AnswerLost where the plan loses the answer."""
        return asyncio.run(self._send(method, address, key, options))

    async def _send(self, method: str, address: str, key: str | None, options: dict[str, Any]) -> httpx.Response:
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key is not None else {})
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
            return await client.request(method, address, headers=headers, **options)

    def create(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Create a batch that must be accepted; return its id."""
        answer = self.send("POST", "/v1/batches", json={"requests": rows})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["batch_id"])

    def status(self, batch_id: str) -> dict[str, Any]:
        answer = self.send("GET", f"/v1/batches/{batch_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def end(self) -> None:
        """Let the time of every batch pass."""
        self.clock.now_s += 10 * DURATION_S

    def results(self, batch_id: str) -> bytes:
        """Return the result file of a batch, after its end."""
        self.end()
        answer = self.send("GET", self.status(batch_id)["result_url"], key=None)
        assert answer.status_code == 200, answer.text
        return answer.content

    def run(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """Create a batch, let it end, return its result file."""
        return self.results(self.create(rows))

    def bill(self) -> dict[str, Any]:
        answered: dict[str, Any] = self.send("GET", "/admin/bill").json()
        return answered

    def set_faults(self, plan: Mapping[str, Any]) -> None:
        answer = self.send("PUT", "/admin/faults", json=plan)
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def a_gateway(state: Path, faults: Mapping[str, Any] | None = None, **settings: Any) -> Iterator[Gateway]:
    """An application on the state folder `state`; `settings` are GatewayConfig's."""
    clock = SetClock()
    plan: FaultPlan | None = None if faults is None else decode_plan(json.dumps(faults))
    config = GatewayConfig(**{"state": state, "duration_s": DURATION_S, "faults": plan, **settings})
    app = create_app(config, clock)
    try:
        yield Gateway(app, clock, config)
    finally:
        app.state.service.close()


def a_row(custom_id: str = "row-0", question: str = "What is the capital of France?", **params: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"custom_id": custom_id, "params": {"model": MODEL, "max_tokens": 1024, "messages": messages, **params}}


def some_rows(count: int) -> list[dict[str, Any]]:
    return [a_row(f"row-{number}", f"Question {number}?") for number in range(count)]


def lines_of(results: bytes) -> list[dict[str, Any]]:
    """Parse an undamaged result file."""
    return [json.loads(line) for line in results.split(b"\n") if line]
