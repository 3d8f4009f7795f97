"""A row's name at the provider: `<8 hex of the job's digest>-<shard hex>-<row hex>`, both ways, by a pure function.

It is the only key by which an answer finds its row. The alphabet and the length (at most 26 characters) lie inside
the strictest rule known, `^[a-zA-Z0-9_-]{1,64}$`; the job's prefix exposes ids that are not ours.
"""

from __future__ import annotations

import re
from typing import Final

DIGEST_LENGTH: Final = 8
ROW_MAX: Final = 16**8 - 1
_NUMBER: Final = "(0|[1-9a-f][0-9a-f]{0,7})"  # no leading zeros: we write none, so such an id is not ours
_FORM: Final = re.compile(f"([0-9a-f]{{8}})-{_NUMBER}-{_NUMBER}")


def prefix(job_digest: str, shard_no: int) -> str:
    """Return what stands before the row's number in every `custom_id` of a shard."""
    return f"{job_digest[:DIGEST_LENGTH]}-{shard_no:x}-"


def custom_id(job_digest: str, shard_no: int, row: int) -> str:
    """Return the id of `row` (0-based, in its shard)."""
    assert 0 <= shard_no <= ROW_MAX and 0 <= row <= ROW_MAX
    return f"{prefix(job_digest, shard_no)}{row:x}"


def parse(value: str, job_digest: str) -> tuple[int, int] | None:
    """Return (shard_no, row), or None where `value` is no id of this job, or not spelled as we spell it."""
    form = _FORM.fullmatch(value)
    if form is None or form[1] != job_digest[:DIGEST_LENGTH]:
        return None
    return int(form[2], 16), int(form[3], 16)
