"""Digests the stored bytes of files, or samples of them: a copy is the same, and a changed file most likely not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import xxhash

from orchestrator.dataset.files import FETCH_BYTES, SourceFile, open_random, translated

WHOLE_BYTES_MAX: Final = 64 * 2**20  # a file up to this size is digested whole
SAMPLE_COUNT: Final = 64
SAMPLE_BYTES: Final = 2**20


def sample_digest(file: SourceFile) -> bytes:
    """Digest the stored bytes: all of a small file, 64 evenly spaced samples of a large one."""
    with translated(f"{file.name} cannot be read"), open_random(file) as source:
        return sampled(source, file.size_bytes, Sampling(WHOLE_BYTES_MAX, SAMPLE_COUNT, SAMPLE_BYTES))


@dataclass(frozen=True, slots=True)
class Sampling:
    """Up to which size a file is digested whole, and how many samples of which size are taken of a larger one."""

    whole_bytes_max: int
    count: int
    sample_bytes: int


def sampled(source: Any, size_bytes: int, sampling: Sampling) -> bytes:
    """Digest an open file, or evenly spaced samples of it."""
    digest = xxhash.xxh3_128()
    if size_bytes <= sampling.whole_bytes_max:
        source.seek(0)
        while block := source.read(FETCH_BYTES):
            digest.update(block)
    else:
        for number in range(sampling.count):
            source.seek((size_bytes - sampling.sample_bytes) * number // (sampling.count - 1))
            digest.update(source.read(sampling.sample_bytes))
    return digest.digest()
