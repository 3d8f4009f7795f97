"""Makes a chunk of a request file, with its estimated maximum cost."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain import money
from orchestrator.domain.amend import Amends, raised
from orchestrator.domain.model import Chunk, ChunkId, JobId
from orchestrator.domain.packing import tokens_of
from orchestrator.domain.policy import Price
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.job_files.request_files import Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Costing:
    """The model's prices, as far as known; `output_tokens_max` is per request."""

    price: Price | None
    output_tokens_max: int

    def for_chunk(self, changes: RequestChanges, amends: str) -> Costing:
        """Return the costing of a chunk whose requests a person, or the program for this reason, has changed."""
        tokens = changes.output_tokens_max or self.output_tokens_max
        tokens = raised(tokens) if amends == Amends.TRUNCATED else tokens
        return Costing(price=changes.price_or(self.price), output_tokens_max=tokens)

    def chunk(self, job_id: JobId, name: str, file: Written) -> Chunk:
        """Return the chunk of the requests in `file`."""
        tokens_in = tokens_of(file.text_bytes)
        return Chunk(
            id=ChunkId(f"{job_id}/{name}"),
            job_id=job_id,
            shard_no=None,
            row_start=0,
            row_end=0,
            request_count=file.line_count,
            request_bytes=file.size_bytes,
            requests=file.name,
            tokens_in=tokens_in,
            cost_usd_max=money.cost_max(
                self.price,
                tokens_in,
                file.line_count * self.output_tokens_max,
                longest_tokens=tokens_of(file.longest_text_bytes),
            ),
        )
