"""Says why a file could not be written, and what to do about it."""

from __future__ import annotations

import errno
from typing import Final

KEPT: Final = "and type the command again: what is recorded is kept"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def why_unwritten(error: OSError) -> str:
    """Return the reason, and behind it what makes it go away, where that is known."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return f"{reason}. Free some space {KEPT}"
    return f"{reason}. Make its folder writable {KEPT}" if error.errno in _CLOSED else reason
