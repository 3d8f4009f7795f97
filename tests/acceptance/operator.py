"""The person who is told that chunks are held: looks at what the provider really has, and says so.

Here the provider's own list is the gateway's; a create is recognised by the digest of its body and by its time.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import zstandard

from orchestrator import JobHandle
from tests.gateway_process import GatewayProcess


def look_up(gateway: GatewayProcess, work: Path, job_id: str, held: dict[str, Any]) -> str | None:
    """Return the batch that a held create made; None if it made none."""
    digest = body_digest(work / job_id / "requests", held["chunk"])
    # Of one machine and one clock, but the gateway tells milliseconds.
    since = datetime.fromisoformat(held["sent_at"]) - timedelta(milliseconds=1)
    found = [
        batch["id"]
        for batch in gateway.batches()
        if batch["digest"] == digest and datetime.fromisoformat(batch["submitted_at"]) >= since
    ]
    assert len(found) <= 1, f"{held['chunk']} was created {len(found)} times by one attempt"
    return found[0] if found else None


def body_digest(requests: Path, chunk: str) -> str:
    """Return the sha256 of the body that a create of this chunk has, as hexadecimal digits."""
    [path] = requests.glob(f"{chunk}.*.jsonl.zst")
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as content:
        lines = content.read().splitlines()
    return hashlib.sha256(b'{"requests":[' + b",".join(lines) + b"]}").hexdigest()


def resolve_all(gateway: GatewayProcess, job: JobHandle) -> dict[str, str | None]:
    """Resolve every held chunk by what the gateway has; return what was said."""
    said: dict[str, str | None] = {}
    for one in job.held():
        said[one["chunk"]] = look_up(gateway, Path(job.work), job.job_id, one)
        job.resolve(one["chunk"], said[one["chunk"]])
    return said
