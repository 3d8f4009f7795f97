"""Divides requests into chunks.

Rule 1: greedy and in order, so the same sizes always give the same chunks.
Rule 2: no chunk exceeds a limit, none is empty; the caller refuses a request that is too large by itself.
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.policy import Limits

BYTES_PER_TOKEN: Final = 3  # overestimates English (about 4), about right for other scripts and JSON punctuation


def tokens_of(size_bytes: int) -> int:
    """Return an upper estimate of the tokens in `size_bytes` of request text."""
    return -(-size_bytes // BYTES_PER_TOKEN)


class Packer:
    """The capacity left in the chunk that is being filled."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = self._bytes = self._tokens = 0

    def too_large(self, size_bytes: int) -> bool:
        """Return whether a request is too large for any chunk."""
        tokens_max = self._limits.tokens_max
        return size_bytes > self._limits.bytes_max or (tokens_max is not None and tokens_of(size_bytes) > tokens_max)

    def starts_new(self, size_bytes: int) -> bool:
        """Add a request; return whether it started a new chunk because it did not fit into the present one."""
        tokens, limits = tokens_of(size_bytes), self._limits
        full = self._requests > 0 and (
            self._requests + 1 > limits.requests_max
            or self._bytes + size_bytes > limits.bytes_max
            or (limits.tokens_max is not None and self._tokens + tokens > limits.tokens_max)
        )
        if full:
            self._requests = self._bytes = self._tokens = 0
        self._requests += 1
        self._bytes += size_bytes
        self._tokens += tokens
        return full
