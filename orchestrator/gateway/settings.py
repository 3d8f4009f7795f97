"""The server's settings and its clock, fixed at its start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from orchestrator.gateway.faults import FaultPlan
from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.simulated import Answer


class ResultMode(StrEnum):
    """How `GET /v1/batches/{id}` delivers results; OneRouter documents two ways that disagree.

    `status-object`  (API reference) always the status object, with a `result_url` once there are results.
    `jsonl-stream`   (overview) always JSONL: the status object on one line while it runs, then the results themselves.
    `mixed`          the status object as plain JSON while it runs, then the results themselves.
    """

    STATUS_OBJECT = "status-object"
    JSONL_STREAM = "jsonl-stream"
    MIXED = "mixed"


class LineShape(StrEnum):
    """The form of result lines: OneRouter documents none, and has upstreams of both kinds."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """The server's settings; times in seconds, sizes in bytes.

    `faults` None keeps the plan that is in the state folder (none at first); a plan given here replaces it.
    `results_url` is the base of the result files, when it is not the host the client asked (as with OneRouter).
    `answer` may change the simulated model's answer to a request, which it is given with the request; in one thread.
    """

    state: Path
    api_key: str = "local"
    duration_s: float = 2.0
    result_mode: ResultMode = ResultMode.STATUS_OBJECT
    line_shape: LineShape = LineShape.OPENAI
    requests_max: int = 100_000
    size_bytes_max: int = 200_000_000
    accepts_duplicates: bool = False
    cancelled_word: str = "CANCELLED"
    results_url: str | None = None
    faults: FaultPlan | None = None
    answer: Callable[[Answer | Refusal, msgspec.Raw], Answer | Refusal] | None = None

    def model(self, simulated: Callable[[msgspec.Raw], Answer | Refusal]) -> Callable[[msgspec.Raw], Answer | Refusal]:
        """Return the model that answers a dialect's requests, `simulated` or what `answer` makes of it."""
        change = self.answer
        return simulated if change is None else lambda request: change(simulated(request), request)


class Clock(Protocol):
    """The time as the server sees it; tests pass one that they control."""

    def now(self) -> float:
        """Return the time in unix seconds."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds of this clock."""
        ...


class WallClock:
    """The time of this machine; not monotonic time, because a batch must end on time across a restart."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
