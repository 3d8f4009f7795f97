"""Divides requests into chunks.

Rule 1: greedy and in order, so the same sizes always give the same chunks.
Rule 2: no chunk exceeds a limit, none is empty; the caller refuses a request that is too large by itself.
"""

from __future__ import annotations

import re
from typing import Final

from orchestrator.domain.policy import Limits

BYTES_PER_TOKEN: Final = 3  # overestimates English (about 4), about right for other scripts and JSON punctuation
# Of English text. No tokenizer counts: tiktoken loads its vocabularies from the network; bpe-openai 0.1.4, which has
# them in its wheel, is an alpha of 2025-10 with 41 MB and seconds of loading. What answers have cost tells more.
BYTES_PER_TOKEN_EXPECTED: Final = 4


# The most that a provider makes of one image at its usual detail. Anthropic scales to some 1,600 tokens
# (platform.claude.com, vision, read 2026-12-01), OpenAI to 765 to 2,500, with models of more: gpt-4o-mini, 25,500.
IMAGE_TOKENS: Final = 3_000
_IMAGE: Final = re.compile(rb'"type":"(?:image|image_url|input_image)"')
_ENCODED: Final = re.compile(rb'"data":"[A-Za-z0-9+/=]+"|"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]+"')


def text_bytes(line: bytes) -> int:
    """Return how many bytes of text a request line counts for in tokens: images count by number, not by size."""
    if b"image" not in line:
        return len(line)
    encoded = sum(found.end() - found.start() for found in _ENCODED.finditer(line))
    return len(line) - encoded + len(_IMAGE.findall(line)) * IMAGE_TOKENS * BYTES_PER_TOKEN


def tokens_of(size_bytes: int) -> int:
    """Return an upper estimate of the tokens in `size_bytes` of request text."""
    return -(-size_bytes // BYTES_PER_TOKEN)


class Packer:
    """The capacity left in the chunk that is being filled."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = self._bytes = self._tokens = 0

    def too_large(self, size_bytes: int, text: int | None = None) -> bool:
        """Return whether a request is too large for any chunk.

        Args:
            text: the bytes that its tokens are counted of, where they are not `size_bytes`.
        """
        tokens, limits = tokens_of(size_bytes if text is None else text), self._limits
        return size_bytes > limits.bytes_max or (limits.tokens_max is not None and tokens > limits.tokens_max)

    def starts_new(self, size_bytes: int, text: int | None = None) -> bool:
        """Add a request; return whether it started a new chunk because it did not fit into the present one."""
        tokens, limits = tokens_of(size_bytes if text is None else text), self._limits
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
