"""Runs a job through the Python API against a server of `tests/reports`, and says what became of every row."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

import orchestrator
from orchestrator import Job, OrchestratorError, open_job
from orchestrator.api import run_view
from orchestrator.api.commands import identify
from orchestrator.api.status import Status
from orchestrator.cli import status_text
from tests.reports.server import OneRouterServer, OpenAIServer, running, text_for
from tests.sums import sums

KEY: Final = "sk-report-0123456789"
KEY_VARIABLE: Final = "REPORT_KEY"
QUICK: Final = {"create_s_max": 5, "list_lag_s": 1}
PROMPT: Final = "Q<{text}>"
MODELS: Final = {"openai": "gpt-4o-mini", "onerouter": "gpt-4o-mini-batch"}
SECONDS_MAX: Final = 60.0
LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a job ended. Rows are named by their place in the dataset, from 0."""

    error: OrchestratorError | None  # what ended the run; None where the job finished
    status: Mapping[str, Any]  # the numbers that `orchestrator status --json` prints
    told: str  # what a person reads: the error, and `orchestrator status`
    rows: list[dict[str, Any]]  # the output; empty where the job has not finished
    prompts: list[str]
    paid: list[int]  # how many answers were charged for each row
    work: Path

    @property
    def right(self) -> list[int]:
        """The rows that have the one right answer."""
        return [
            place
            for place, (row, prompt) in enumerate(zip(self.rows, self.prompts, strict=False))
            if row["llm_status"] == "succeeded" and row["llm_response"] == text_for(prompt)
        ]

    @property
    def failed(self) -> dict[int, str]:
        """The failed rows, each with its error code."""
        return {place: row["llm_error_code"] for place, row in enumerate(self.rows) if row["llm_status"] == "failed"}

    @property
    def is_clean(self) -> bool:
        """Whether every row has its right answer, and none was paid for twice."""
        return self.error is None and len(self.right) == len(self.prompts) and max(self.paid) == 1

    @property
    def failed_codes(self) -> Counter[str]:
        """How many rows failed, by error code."""
        return Counter(self.failed.values())


def play(
    server: OpenAIServer | OneRouterServer,
    folder: Path,
    *,
    rows: int = 12,
    chunk: int = 6,
    until: Callable[[], bool] | None = None,
    policy: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    again: bool = False,
    **fields: Any,
) -> Seen:
    """Run a job of `rows` rows in chunks of `chunk` against a server, in `folder`, and return what became of it.

    Args:
        until: the run is interrupted once this is true: for jobs that would wait for hours. It is asked often, and may
            look at the server's counts. Without it a run that does not end is interrupted after a minute.
        policy: of the job, beside quick polls.
        options: `provider_options`, beside the address.
        again: run the same job again in the same folder, after an earlier `play`.
        fields: of `orchestrator.Job`: model, temperature, request …
    """
    dataset = folder / "dataset.parquet"
    if not again:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [f"row {number}" for number in range(rows)]}), dataset)
    over, stop = threading.Event(), threading.Event()
    os.environ[KEY_VARIABLE] = KEY
    error: OrchestratorError | None = None
    with running(server) as url:
        given: dict[str, Any] = {
            "name": "report",
            "dataset": str(dataset),
            "prompt": PROMPT,
            "model": MODELS[server.provider],
            "work": folder / "work",
            "provider": server.provider,
            "provider_options": {**QUICK, "base_url": url, "api_key_env": KEY_VARIABLE, **(options or {})},
            "policy": {"chunk_requests_max": chunk, "retry_gather_s": 0, "poll_s_min": 0.05, **(policy or {})},
        }
        job = Job(**(given | fields))
        watcher = threading.Thread(target=_stop_when, args=(until, over, stop), daemon=True)
        watcher.start()
        try:
            orchestrator.run(job, stop=stop)
        except OrchestratorError as raised:
            error = raised
        finally:
            over.set()
            watcher.join()
    prompts = [PROMPT.replace("{text}", text) for text in pq.read_table(dataset)["text"].to_pylist()]
    handle = open_job(identify(job), work=folder / "work")
    status = handle.status()
    return Seen(
        error=error,
        status=sums(status.as_dict()),
        told="\n".join([*([str(error)] if error else []), _told(status, str(folder / "work"))]),
        rows=_output(folder / "work") if error is None else [],
        prompts=prompts,
        paid=[server.paid[prompt] for prompt in prompts],
        work=folder / "work",
    )


def _told(status: Status, work: str) -> str:
    """Return what `orchestrator status` prints."""
    out = io.StringIO()
    Console(file=out, width=120, highlight=False).print(run_view.still(status.look, 120))
    return f"{out.getvalue()}{status_text.notes(status, work)}"


def _stop_when(until: Callable[[], bool] | None, over: threading.Event, stop: threading.Event) -> None:
    """Request a stop when the condition is true, or after the longest time."""
    for _ in range(int(SECONDS_MAX / LOOK_S)):
        if over.wait(LOOK_S) or (until is not None and until()):
            break
    stop.set()


def _output(work: Path) -> list[dict[str, Any]]:
    """Return the rows of the newest revision of the output."""
    parts = [part for part in work.rglob("part-*.parquet") if part.parent.name.startswith("output")]
    newest = max({part.parent for part in parts})
    rows: list[dict[str, Any]] = pa.concat_tables(map(pq.read_table, sorted(newest.glob("part-*.parquet")))).to_pylist()
    return rows
