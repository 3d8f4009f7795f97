"""A row's id at the provider: `<8 hex of the job's digest>-<shard hex>-<row hex>`. Only this module formats it.

Answers are joined to rows by this id alone. Its alphabet and length (at most 26 characters) meet the strictest rule
known, `^[a-zA-Z0-9_-]{1,64}$`. The job's digest in front shows which ids are not ours.

A custom_id is `prefix` followed by `number`; code that writes many ids concatenates the two itself.
"""

from __future__ import annotations

import re
from typing import Final

DIGEST_LENGTH: Final = 8
KEY: Final = "key:"  # before an id or a key, where a person may also write something else
ROW_MAX: Final = 16**8 - 1
_NUMBER: Final = "(0|[1-9a-f][0-9a-f]{0,7})"  # no leading zeros: we write none, so such an id is not ours
_FORM: Final = re.compile(f"([0-9a-f]{{8}})-{_NUMBER}-{_NUMBER}")
_PLACE: Final = re.compile("([0-9]{1,9})/([0-9]{1,9})")
_DIGITS: Final = re.compile("[0-9]{1,18}")
LENGTH_MAX: Final = DIGEST_LENGTH + 2 * (1 + 8)
# In bytes that are no readable line; an id that is part of a longer word is another word.
_ANYWHERE: Final = re.compile(
    rf"(?<![0-9A-Za-z_-])[0-9a-f]{{8}}-{_NUMBER}-{_NUMBER}(?![0-9A-Za-z_-])".encode(), re.IGNORECASE
)


def prefix(job_digest: str, shard_no: int) -> str:
    """Return the common beginning of every `custom_id` of a shard."""
    return f"{job_digest[:DIGEST_LENGTH]}-{shard_no:x}-"


def custom_id(job_digest: str, shard_no: int, row: int) -> str:
    """Return the id of `row` (0-based, in its shard). Raises ValueError for a number that an id cannot hold."""
    if not (0 <= shard_no <= ROW_MAX and 0 <= row <= ROW_MAX):
        raise ValueError(f"row {row} of shard {shard_no}: a custom_id holds numbers from 0 to {ROW_MAX}")
    return prefix(job_digest, shard_no) + number(row)


def number(row: int) -> str:
    """Return the part after the prefix."""
    return f"{row:x}"


def numbers(row_start: int, row_count: int) -> list[bytes]:
    """Return `number` of consecutive rows, as bytes."""
    return [b"%x" % row for row in range(row_start, row_start + row_count)]


def place(named: str) -> tuple[int, int] | None:
    """Return (shard_no, row) of a row as people name it, SHARD/ROW; None for any other text."""
    found = _PLACE.fullmatch(named)
    return None if found is None else (int(found[1]), int(found[2]))


def row_number(named: str) -> int | None:
    """Return the number of a row in its dataset as people write it; None for any other text."""
    return int(named) if _DIGITS.fullmatch(named) else None


def custom_ids(job_digest: str, shard_no: int, row_start: int, row_count: int) -> list[str]:
    """Return the ids of consecutive rows of a shard."""
    before = prefix(job_digest, shard_no)
    return [f"{before}{row:x}" for row in range(row_start, row_start + row_count)]


def parse(value: str, job_digest: str) -> tuple[int, int] | None:
    """Return (shard_no, row), or None where `value` is not an id of this job in our own spelling."""
    form = _FORM.fullmatch(value)
    if form is None or form[1] != job_digest[:DIGEST_LENGTH]:
        return None
    return int(form[2], 16), int(form[3], 16)


def respelled(value: str) -> str:
    """Return an id in our own spelling: without the spaces around it, in lower case; "" where it is no id of any job.

    Our spelling has no capitals, so no two ids of ours become one.
    """
    if len(value) > 2 * LENGTH_MAX:
        return ""
    spelled = value.strip().casefold()
    return spelled if _FORM.fullmatch(spelled) else ""


def found_in(line: bytes) -> set[str]:
    """Return the ids, of any job, that stand anywhere in these bytes."""
    return {found[0].decode().casefold() for found in _ANYWHERE.finditer(line)}
