"""`orchestrator batches | log`."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.arguments import find, job_argument, json_option, work_option
from orchestrator.cli.terminal import show, show_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from orchestrator.domain.timeline import Batch, LedgerEvent

SHOWN: Final = 20  # batches, of each job, without --all
PIPE: Final = 120  # the width of a table that is not for a terminal
CHUNK: Final = 15


@click.command
@job_argument
@work_option
@click.option("--all", "is_all", is_flag=True, help="Print all batches, those that were collected, too.")
@json_option
def batches(job: str, work: str | None, is_all: bool, as_json: bool) -> None:
    """Print a job's batches: how old, how far, when looked at.

    Those that need you come first, then the oldest.
    """
    from orchestrator.api import timeline
    from orchestrator.api.documents import jobs as documents

    handle = find(job, work)
    found, now = timeline.batches(handle), timeline.look(handle).at
    if as_json:
        show_document(documents.batches(handle.job_id, found, now))
        return
    show("\n".join(_batches(handle.job_id, found, now, is_all=is_all)))


def _batches(job_id: str, found: Sequence[Batch], now: datetime, *, is_all: bool) -> Iterable[str]:
    from orchestrator.domain.timeline import Group

    counts = Counter(one.group for one in found)
    told = [f"{counts[group]:,} {group.value}" for group in Group if counts[group]]
    yield f"{job_id}  {', '.join(told) or 'no batch yet'}"
    live = (Group.NEEDS_YOU, Group.AT_PROVIDER)
    shown = list(found) if is_all else ([one for one in found if one.group in live] or list(found))[:SHOWN]
    if shown:
        wide = _width() >= PIPE
        yield ""
        yield _line(("batch", "chunk", "it says", "answered", "age", "looked at"), " ", wide)
        yield from (_line(_cells(one, now), "!" if one.group is Group.NEEDS_YOU else " ", wide) for one in shown)
        yield from (f"    {one.chunk}: {one.reason}" for one in shown if one.reason and one.group in live)
    if len(found) > len(shown):
        yield f"  {len(found) - len(shown):,} more: orchestrator batches {job_id} --all"


def _cells(one: Batch, now: datetime) -> tuple[str, ...]:
    from orchestrator.api.amounts import span
    from orchestrator.domain.timeline import Group

    is_sent = one.sent_at is not None and one.group is not Group.WAITING
    age = span((one.ended_at or now) - one.sent_at) if is_sent and one.sent_at else ""
    if one.group is Group.COLLECTED and one.ended_at is None:  # the ledger was rebuilt: it is not known
        age = "unknown" if one.sent_at else ""
    looked = f"{span(now - one.looked_at)} ago" if one.looked_at else ""
    return (one.batch_id or "-", one.chunk, one.word or one.state.value, f"{one.answered:,}", age, looked)


def _line(cells: Sequence[str], mark: str, wide: bool) -> str:
    batch, chunk, word, answered, age, looked = cells
    width = 44 if wide else 16
    name = batch if len(batch) <= width else f"{batch[: width - 1]}…"
    of = 14 if not wide else 20
    return f"{mark} {name:<{width}} {chunk:<{CHUNK}} {word[:of]:<{of}} {answered:>8} {age:>7} {looked:>10}".rstrip()


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE


@click.command
@job_argument
@work_option
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many entries.")
@click.option("--all", "is_all", is_flag=True, help="All entries, those of each step of a batch, too.")
@click.option("--batch", metavar="CHUNK", help="Only entries of this chunk.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until the job has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of text.")
def log(job: str, work: str | None, last: int, is_all: bool, batch: str | None, follow: bool, as_json: bool) -> None:
    """Print what has happened to a job, and when."""
    from orchestrator.api import event_words, timeline
    from orchestrator.api.documents import jobs as documents

    handle, without = find(job, work), () if is_all or batch else event_words.ON_THE_WAY
    if follow:
        told = timeline.follow(handle, threading.Event(), newest=last, without=without)
    else:
        told = timeline.events(handle, newest=None if is_all or batch else last, without=without)
    shown = (one for one in told if batch in (None, one.unit))
    if as_json:
        for one in shown:
            show_document(documents.event(handle.job_id, one, event_words.told(one)))
        return
    for alike in _runs(shown) if not follow else ([one] for one in shown):
        show(_entry(alike[0]) + (f" ({len(alike):,} times)" if len(alike) > 1 else ""))


def _runs(entries: Iterable[LedgerEvent]) -> Iterable[list[LedgerEvent]]:
    """Yield entries, those together that say the same one after the other."""
    for _, alike in itertools.groupby(entries, lambda one: (one.name, one.unit, sorted(one.details.items()))):
        yield list(alike)


def _entry(one: LedgerEvent) -> str:
    from orchestrator.api.event_words import is_trouble, told

    return f"{one.at.astimezone():%Y-%m-%d %H:%M:%S} {'!' if is_trouble(one) else ' '} {told(one)}"


COMMANDS = (batches, log)
