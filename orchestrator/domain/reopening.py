"""Rows that a person asks to send again though they are answered: how a chunk counts them.

Rule: an answer counts where it was given until its row is sent again. If the row then fails, the answer stands, and
counts in the chunk that failed to improve it.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.model import Chunk, Tally
from orchestrator.domain.row_kinds import SENT_AS_FAILED


def reopened(chunk: Chunk, kind: str, *, pays_again: bool = False) -> Tally:
    """Return the chunk's tally once its answers of this kind wait to be sent again.

    Args:
        pays_again: also those of rows whose newer answer is kept and cannot be read.
    """
    tally, own = chunk.tally, chunk.own_answers(kind)
    kept = 0 if pays_again else chunk.unread(kind)
    count = getattr(tally, f"{kind}_answers") - kept
    return replace(
        tally,
        succeeded=tally.succeeded - own,
        reopened=tally.reopened + own,
        standing=tally.standing - (count - own),
        waiting=tally.waiting + count,
        unread_answers=kept if chunk.improves == kind else tally.unread_answers,
        **{f"{kind}_answers": kept},
    )


def closed_again(chunk: Chunk, own: int, unreadable: int = 0) -> Tally:
    """Return the chunk's tally once its waiting rows are not sent again after all, because the job is cancelled.

    Args:
        own: how many of the waiting rows have an answer in this chunk.
        unreadable: how many of them have an answer that cannot be read.
    """
    tally, kind = chunk.tally, chunk.regather or chunk.improves
    if kind in ("", *SENT_AS_FAILED):
        kept = tally.unreadable_rows + unreadable
        return replace(tally, waiting=0, failed=tally.failed + tally.waiting, unreadable_rows=kept)
    closed = replace(
        tally,
        succeeded=tally.succeeded + own,
        reopened=tally.reopened - own,
        standing=tally.standing + tally.waiting - own,
        waiting=0,
        unread_answers=tally.unread_answers + unreadable,
    )
    return closed.with_answers(kind, tally.waiting)
