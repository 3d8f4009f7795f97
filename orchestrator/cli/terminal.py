"""Printing: results on standard output, everything else on standard error, prose no wider than the terminal.

Rule 1: what a program may read (JSON, rows, a path alone) is printed as it is: `show`.
Rule 2: prose is at most 80 columns wide in a pipe, and at most 100 on a terminal; COLUMNS sets another width. Its lines
        break between words; a path, a URL and a text in backticks stay whole, and so does a line that is a command, so
        that it can be pasted.
Rule 3: control characters are escaped everywhere: a message may quote untrusted text.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import click

from orchestrator import log

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.api.documents.document import Document

PIPE: Final = 80
WIDTH_MIN: Final = 40
WIDTH_MAX: Final = 100
COLUMN_MAX: Final = 40  # a second column that begins further to the right is not kept clear
_COMMAND: Final = re.compile(r"(?:\S*/)?(?:orchestrator|export|make) ")
_GAP: Final = re.compile(r"(?<=\S) {2,}(?=\S)")
_QUOTED: Final = re.compile(r"`[^`\n]*`")
_KEPT: Final = "\x00"  # stands for a blank that no line may break at


def show(text: str) -> None:
    """Print data on standard output, as it is."""
    click.echo(log.printable(text))


def show_document(document: Document) -> None:
    """Print a document on standard output: one line of JSON, at once."""
    from orchestrator.api.documents.document import text

    show(text(document))


def show_as(kind: str, values: Mapping[str, object], **more: object) -> None:
    """Print values as a document of a kind, such as "plan"."""
    from orchestrator.api.documents.catalogue import KINDS
    from orchestrator.api.documents.document import filled

    show_document(filled(KINDS[kind], values, **more))


def show_text(text: str) -> None:
    """Print a result for people on standard output."""
    show(fitted(text))


def say(text: str) -> None:
    """Print a message for people on standard error."""
    log.say(fitted(text))


def draw(what: Callable[[int], RenderableType]) -> None:
    """Print what is drawn for a width on standard output; in a pipe, and under NO_COLOR, without styles."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _width())
    with console.capture() as drawn:  # rich itself would end the process where nobody reads
        console.print(what(console.width), soft_wrap=True)
    click.echo(drawn.get(), nl=False, color=True)


def fitted(text: str, width: int | None = None) -> str:
    """Break the lines of a text that are wider than the terminal, below the column where their text begins."""
    width = width or _width()
    return "\n".join(_fitted_line(line, width) for line in text.split("\n"))


def _width() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) >= WIDTH_MIN:
        return int(given)
    return min(WIDTH_MAX, max(WIDTH_MIN, shutil.get_terminal_size((PIPE, 24)).columns))


def _fitted_line(line: str, width: int) -> str:
    text = line.lstrip(" ")
    if len(line) <= width or _COMMAND.match(text):
        return line
    gaps = [gap.end() for gap in _GAP.finditer(line) if gap.end() <= min(COLUMN_MAX, width // 2)]
    hanging = max(gaps, default=len(line) - len(text) + 2)
    whole = _QUOTED.sub(lambda quoted: quoted[0].replace(" ", _KEPT), line)
    broken = textwrap.fill(
        whole, width, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )
    return broken.replace(_KEPT, " ")


def listed_commands(ways: list[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Return lines that name commands, each alone on its line below what it does, so that it can be pasted."""
    return [line for typed, meaning in ways for line in (f"{indent}{meaning}:", f"{indent}  {typed}")]
