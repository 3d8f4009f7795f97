"""Result files while they are written, and what the fault plan does to them, to their lines and to JSON answers.

Rule 1: a file gets its name once it is whole and durable, and none if it is not kept.
Rule 2: UNREADABLE names the faults after which a client may send the row again: the bill excuses it. A careful reader
        must cope with the other faults.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import xxhash

from orchestrator.gateway.lines import Line
from orchestrator.gateway.simulated import Answer
from orchestrator.gateway.store import put_in_place

LINE_FAULTS: Final = (
    "missing",
    "null_custom_id",
    "foreign_custom_id",
    "not_json",
    "invalid_utf8",
    "nan",
    "huge_number",
    "deep_nesting",
    "empty_content",
    "prose",
    "wrong_value",
    "cut_text",
    "duplicate",
    "duplicate_differing",
    "fenced",
    "line_separator",
    "blank_line",
)
UNREADABLE: Final = frozenset(LINE_FAULTS[: LINE_FAULTS.index("duplicate")])
FILE_FAULTS: Final = ("bom", "crlf", "cut_last", "cut_in_character", "in_order")

BOM: Final = b"\xef\xbb\xbf"
NESTING_DEPTH: Final = 100_000  # deeper than json, orjson and msgspec parse
# A private-use character stands where invalid bytes go, so that the line can be encoded first.
INVALID_MARK: Final = "\ue000"
LAST_CHARACTER: Final = "é"  # two bytes, so that a file can end between them
CUTS: Final = frozenset({"cut_last", "cut_in_character"})


class ResultFile:
    """Writes lines, and knows where the last one starts and which row it belongs to."""

    def __init__(self, path: Path, faults: AbstractSet[str]) -> None:
        self.path = path
        self.row_of_last: int | None = None  # index into the tally's items, if the last line is the only one of its row
        self._temporary = path.with_suffix(".partial")
        self._faults = faults
        self._end = b"\r\n" if "crlf" in faults else b"\n"
        self._last_line_at: int | None = None
        self._file = self._temporary.open("wb")
        if "bom" in faults:
            self._file.write(BOM)

    def write(self, lines: list[bytes], row: int | None = None) -> None:
        """Write the lines of one row."""
        for line in lines:
            if line:
                self._last_line_at = self._file.tell()
            self._file.write(line + self._end)
        if lines:
            self.row_of_last = row if sum(map(bool, lines)) == 1 else None

    def finish(self, *, is_kept: bool) -> int | None:
        """Close the file and put it in place, or delete it; return the row whose line was cut, if any."""
        self._file.close()
        if not is_kept:
            self._temporary.unlink()
            return None
        cut_row = None
        if CUTS & self._faults and self._last_line_at is not None:
            cut_file(self._temporary, self._last_line_at, in_character="cut_in_character" in self._faults)
            cut_row = self.row_of_last
        put_in_place(self._temporary, self.path)
        return cut_row


def damaged_line(
    write: Callable[[str | None, str], Line], custom_id: str, text: str, faults: AbstractSet[str]
) -> list[bytes]:
    """Return the lines that the file has for one row, without line ends: none, one, or several.

    `write` returns the undamaged line for a custom_id and a text: the answer, or the error message.
    """
    if "missing" in faults:
        return []
    if "empty_content" in faults:
        text = ""
    if "invalid_utf8" in faults:
        text += INVALID_MARK
    if "line_separator" in faults:
        text += " \u2028 and \u0085 a second line"
    if "cut_in_character" in faults:
        text += f" {LAST_CHARACTER}"
    key: str | None = custom_id
    if "foreign_custom_id" in faults:
        key = f"ffffffff-0-{xxhash.xxh3_64_hexdigest(custom_id.encode())[:8]}"
    if "null_custom_id" in faults:
        key = None
    line = _encoded(write(key, text), faults)
    lines = [line]
    if "blank_line" in faults:
        lines.insert(0, b"")
    if "duplicate" in faults:
        lines.append(line)
    if "duplicate_differing" in faults:
        lines.append(_encoded(write(key, f"{text} (second version)"), faults))
    return lines


def cut_file(path: Path, last_line_at: int, *, in_character: bool) -> None:
    """Cut a result file inside its last line, which starts at byte `last_line_at`."""
    with path.open("rb+") as file:
        file.seek(last_line_at)
        line = file.read()
        character_at = line.rfind(LAST_CHARACTER.encode()) if in_character else -1
        file.truncate(last_line_at + (character_at + 1 if character_at >= 0 else len(line) // 2))


def _encoded(line: dict[str, object], faults: AbstractSet[str]) -> bytes:
    encoded = msgspec.json.encode(line)
    if "invalid_utf8" in faults:
        encoded = encoded.replace(INVALID_MARK.encode(), b"\xff\xfe\xc3")
    if "nan" in faults:
        encoded = encoded[:-1] + b',"logprob":NaN}'
    if "huge_number" in faults:
        encoded = encoded[:-1] + b',"created":1e400,"seed":' + b"9" * 5_000 + b"}"
    if "deep_nesting" in faults:
        encoded = encoded[:-1] + b',"details":' + b"[" * NESTING_DEPTH + b"]" * NESTING_DEPTH + b"}"
    if "not_json" in faults:
        encoded = b"upstream connect error or disconnect/reset before headers " + encoded[: len(encoded) // 3]
    return encoded


def spoiled(answer: Answer, faults: AbstractSet[str]) -> Answer:
    """Return an answer as a careless model gives it; `faults`: prose, wrong_value, cut_text, fenced."""
    text = answer.text
    if "wrong_value" in faults:
        text = _with_wrong_value(text)
    if "cut_text" in faults:
        return replace(answer, text=text[: len(text) // 2], finish_reason="length")
    if "fenced" in faults:
        text = f"```json\n{text}\n```"
    if "prose" in faults:
        text = "I am sorry, I cannot say that as JSON."
    return answer if text == answer.text else replace(answer, text=text)


def _with_wrong_value(text: str) -> str:
    """Return a JSON object whose first field has a value that its schema does not allow."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or not found:
        return text
    name, value = next(iter(found.items()))
    is_choice = isinstance(value, str) and not value.startswith("[simulated]")  # of an enum, or a date
    found[name] = f"{value}?" if is_choice else [[value]]
    return json.dumps(found, separators=(",", ":"))
