"""Serves the activity and the workflow: `python worker.py`, beside a Temporal server."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from answers import AnswerRows, answer_rows
from temporalio.client import Client
from temporalio.worker import Worker


async def main() -> None:
    """Work until told to stop. One job at a time: an SQLite ledger has one runner."""
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    with ThreadPoolExecutor(1) as threads:
        worker = Worker(
            client,
            task_queue="answers",
            workflows=[AnswerRows],
            activities=[answer_rows],
            activity_executor=threads,
            max_concurrent_activities=1,
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
