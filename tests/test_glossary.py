"""The table of moves in docs/glossary.md is the one in the code. `python -m tests.test_glossary` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from orchestrator.domain.lifecycle import TRANSITIONS

PAGE: Final = Path(__file__).parent.parent / "docs" / "glossary.md"
HEAD: Final = "| from | event | to |\n| --- | --- | --- |\n"
TABLE: Final = re.compile(rf"{re.escape(HEAD)}(?:\|.*\n)*")


def moves() -> str:
    rows = (f"| {before.name} | {event.__name__} | {after.name} |\n" for (before, event), after in TRANSITIONS.items())
    return HEAD + "".join(rows)


def test_the_glossary_shows_the_moves_of_a_chunk_as_they_are() -> None:
    assert TABLE.findall(PAGE.read_text(encoding="utf-8")) == [moves()]


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: moves(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
