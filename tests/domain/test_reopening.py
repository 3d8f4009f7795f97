"""Rows that a person asks to send again though they are answered: how a chunk counts them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.model import Chunk, Tally
from orchestrator.domain.reopening import closed_again, reopened
from tests.builders import a_chunk

COUNTS = st.integers(0, 5)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    """Draw an ended chunk; every answer of a kind that is not whole is one of the succeeded or the standing."""
    improves = draw(st.sampled_from(["", "truncated", "empty"]))
    truncated, empty, whole = draw(COUNTS), draw(COUNTS), draw(COUNTS)
    standing = draw(COUNTS) if improves else 0
    tally = Tally(
        succeeded=truncated + empty + whole,
        standing=standing,
        failed=0 if improves else draw(COUNTS),
        resent=draw(COUNTS),
        truncated_answers=truncated + (standing if improves == "truncated" else 0),
        empty_answers=empty + (standing if improves == "empty" else 0),
        unread_answers=draw(st.integers(0, standing)),
    )
    return replace(a_chunk(), improves=improves, tally=tally)


def total(tally: Tally) -> int:
    return tally.succeeded + tally.standing + tally.failed + tally.waiting + tally.resent


@given(chunks(), st.sampled_from(["truncated", "empty", "refused"]), st.booleans())
def test_rows_that_are_sent_again_are_counted_once_and_a_cancel_puts_all_back(
    chunk: Chunk, kind: str, pays_again: bool
) -> None:
    """Rows with a newer answer that cannot be read are sent again only where a person pays for them."""
    count, own, unread = getattr(chunk.tally, f"{kind}_answers"), chunk.own_answers(kind), chunk.unread(kind)
    kept = 0 if pays_again else unread
    tally = reopened(chunk, kind, pays_again=pays_again)

    assert total(tally) == total(chunk.tally)
    assert (tally.waiting, getattr(tally, f"{kind}_answers")) == (count - kept, kept)
    assert tally.succeeded + tally.reopened == chunk.tally.succeeded + chunk.tally.reopened
    assert closed_again(replace(chunk, tally=tally, regather=kind), own, unread - kept) == chunk.tally


@pytest.mark.parametrize(
    ("regather", "improves", "failed", "standing"), [("", "", 3, 0), ("failed", "", 3, 0), ("", "empty", 0, 3)]
)
def test_waiting_rows_of_a_cancelled_job_fail_unless_they_have_an_answer(
    regather: str, improves: str, failed: int, standing: int
) -> None:
    chunk = replace(a_chunk(), regather=regather, improves=improves, tally=Tally(succeeded=7, waiting=3))
    tally = closed_again(chunk, 0)

    assert tally == Tally(succeeded=7, failed=failed, standing=standing, empty_answers=standing)
