"""How messages are laid out: what fits a terminal, and what can be pasted from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.cli.terminal import fitted, listed_commands

RESOLVE = "orchestrator resolve reviews-mood-3f2a91c4 c00004-00007 --batch ID --work /a/long/folder"


def test_prose_breaks_between_words_below_its_own_beginning() -> None:
    told = fitted("  note        a sentence that is longer than the terminal is wide", 40)

    assert told.splitlines() == ["  note        a sentence that is longer", "              than the terminal is wide"]


def test_what_can_be_copied_is_never_broken() -> None:
    """A command alone on its line, a text in backticks, a URL, a path: each stays whole, however long."""
    quoted = "type `orchestrator resolve reviews-mood` then"

    assert fitted(f"    {RESOLVE}", 40) == f"    {RESOLVE}"
    assert (
        fitted("    export ONEROUTER_API_KEY=YOUR_KEY_AND_MORE", 40) == "    export ONEROUTER_API_KEY=YOUR_KEY_AND_MORE"
    )
    assert "`orchestrator resolve reviews-mood`" in fitted(quoted, 40).splitlines()[0]
    assert "  `orchestrator resolve reviews-mood`" in fitted(quoted, 39).splitlines()
    assert "https://llm.onerouter.pro/v1/batches-and-more" in fitted(
        "asked: https://llm.onerouter.pro/v1/batches-and-more again", 40
    )


def test_commands_stand_alone_below_what_they_do() -> None:
    """So that the whole line can be pasted, in every shell: not every one knows comments at its prompt."""
    assert listed_commands([(RESOLVE, "to say what became of it")]) == ["  to say what became of it:", f"    {RESOLVE}"]


@pytest.mark.parametrize(("columns", "widest"), [("40", 40), ("80", 80), ("120", 120), ("x", 80), ("7", 40)])
def test_columns_sets_the_width_and_a_pipe_has_80(monkeypatch: pytest.MonkeyPatch, columns: str, widest: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)

    lines = fitted("word " * 60).splitlines()

    assert widest - 5 < max(map(len, lines)) <= widest


@pytest.mark.parametrize("path", sorted(Path(cli.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_command_prints_prose_that_fits(path: Path) -> None:
    """`log.say` prints a line as it is: only `terminal.say` fits it to the terminal."""
    assert path.stem == "terminal" or not re.search(r"^from orchestrator\.log import .*\bsay\b", path.read_text(), re.M)
