"""Digests of files as they are read or written: xxh3-128, so that a hash costs less than the disk does."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Final

import xxhash

BLOCK_BYTES: Final = 1 << 20


class HashedReader:
    """A file whose bytes are digested as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = xxhash.xxh3_128()

    def read(self, size: int = -1, /) -> bytes:
        """Read, and digest what was read."""
        block = self._file.read(size)
        self._digest.update(block)
        return block

    def finish(self) -> str:
        """Read the rest of the file, and return the digest of the whole file."""
        while self.read(BLOCK_BYTES):
            pass
        return self._digest.hexdigest()


class HashedWriter(io.BufferedIOBase):
    """A file whose bytes are digested as they are written. Closing it leaves the underlying file open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = xxhash.xxh3_128()

    def writable(self) -> bool:
        """Return True: the file is writable."""
        return True

    def tell(self) -> int:
        """Return how much was written."""
        return self._file.tell()

    def write(self, data: Any, /) -> int:
        """Write, and digest what was written."""
        block = memoryview(data).cast("B")
        self._digest.update(block)
        self._file.write(block)
        return len(block)

    def hexdigest(self) -> str:
        """Return the digest of the bytes written so far."""
        return self._digest.hexdigest()


def digest_of(file: BinaryIO) -> str:
    """Return the digest of a file's bytes."""
    return HashedReader(file).finish()
