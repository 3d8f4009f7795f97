"""The person who is told that chunks are unresolved: looks at what the provider really has, and says so.

Here the provider's own list is the gateway's; a create is recognised by the digest of its body and by its time.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import zstandard

from orchestrator import JobHandle, UnresolvedChunk
from tests.gateway_process import GatewayProcess


def look_up(gateway: GatewayProcess, work: Path, job_id: str, one: UnresolvedChunk) -> str | None:
    """Return the batch that an unresolved create made; None if it made none."""
    digest = body_digest(work / job_id / "requests", one.chunk)
    # Of one machine and one clock, but the gateway tells milliseconds.
    since = one.sent_at - timedelta(milliseconds=1)
    found = [
        batch["id"]
        for batch in gateway.batches()
        if batch["digest"] == digest and datetime.fromisoformat(batch["submitted_at"]) >= since
    ]
    assert len(found) <= 1, f"{one.chunk} was created {len(found)} times by one attempt"
    return found[0] if found else None


def body_digest(requests: Path, chunk: str) -> str:
    """Return the sha256 of the body that a create of this chunk has, as hexadecimal digits."""
    [path] = requests.glob(f"{chunk}.*.jsonl.zst")
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as content:
        lines = content.read().splitlines()
    return hashlib.sha256(b'{"requests":[' + b",".join(lines) + b"]}").hexdigest()


def resolve(job: JobHandle, chunk: str, batch_id: str | None) -> None:
    """Say what the provider has of a create: this batch, or none."""
    if batch_id is None:
        job.resolve_absent(chunk)
    else:
        job.resolve_created(chunk, batch_id)


def resolve_all(gateway: GatewayProcess, job: JobHandle) -> dict[str, str | None]:
    """Resolve every unresolved chunk by what the gateway has; return the batch of each."""
    found: dict[str, str | None] = {}
    for one in job.unresolved():
        found[one.chunk] = look_up(gateway, Path(job.work), job.job_id, one)
        resolve(job, one.chunk, found[one.chunk])
    return found
