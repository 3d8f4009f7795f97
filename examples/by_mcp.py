"""Drives a job over the Model Context Protocol, as an agent does: plan, run inside a budget, status, results.

    python examples/by_mcp.py reviews.toml 1.00

What follows goes to `orchestrator mcp`, such as `--allow-url URL` for a job file with an address of its own. Needs the
extra `mcp`. See docs/for-programs.md.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

MOVING = ("planning", "running", "waiting", "writing")


async def asked(client: Client, tool: str, **given: Any) -> dict[str, Any]:
    """Call a tool, and return its document."""
    result = await client.call_tool(tool, given)
    document: dict[str, Any] = result.structured_content
    if result.is_error:
        sys.exit(f"{document['code']}: {document['message']}")
    return document


async def drive(job: str, budget_usd: str, *options: str) -> None:
    """Run a job to its end, and print its answers."""
    words = ["-m", "orchestrator", "mcp", "--allow", str(Path(job).resolve().parent), "--budget-max", budget_usd]
    words += options
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=Path.cwd())
    async with Client(server) as client:
        plan = await asked(client, "plan", job=job)
        print(f"{plan['requests']} requests, at most {plan['cost_usd_max']} USD")
        status = await asked(client, "run", job=job, budget_usd=budget_usd)
        while status["job"]["activity"].startswith(MOVING):
            status = await asked(client, "status", job=job, wait_s=30)
        print(f"{status['job']['activity']}: {status['rows']['answered']} answered, {status['money']['spent']} USD")
        after: int | None = 0
        while after is not None:
            page = await asked(client, "results", job=job, limit=100, after=after)
            for row in page["rows"]:
                print(row["custom_id"], row["llm_response"] or row["llm_error_code"])
            after = page["next"]


if __name__ == "__main__":
    asyncio.run(drive(*sys.argv[1:]))
