"""The text of `batches` and `log`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli import timeline
from orchestrator.domain.model import ChunkState
from orchestrator.domain.timeline import Batch, Group, LedgerEvent
from tests.builders import NOW, after

SENT = Batch(
    chunk="c00005-00003",
    group=Group.AT_PROVIDER,
    state=ChunkState.SUBMITTED,
    rows=9_999,
    batch_id="batch_f4916c21-c25e-475d-ab1e-2d9198f8285a",
    word="in_progress",
    answered=9_112,
    failed=0,
    to_send_again=0,
    sent_at=after(-21_060),
    looked_at=after(-111),
    next_at=after(189),
    ended_at=None,
    reason="",
)
LOST = replace(
    SENT,
    chunk="c00004-00007",
    group=Group.NEEDS_YOU,
    state=ChunkState.UNRESOLVED,
    batch_id=None,
    word="",
    answered=0,
    looked_at=None,
    reason="no answer to its create within 300 s",
)
PLANNED = replace(LOST, chunk="c00009-00001", group=Group.WAITING, state=ChunkState.PLANNED, reason="HTTP 429")


def listed(*batches: Batch, width: int = 80, is_all: bool = False) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "_width", lambda: width)
        return "\n".join(timeline._batches("reviews-mood-3f2a91c4", batches, NOW, is_all=is_all))


def test_what_is_at_the_provider_is_listed_and_the_rest_counted() -> None:
    assert (
        listed(LOST, SENT, PLANNED)
        == """\
reviews-mood-3f2a91c4  1 needs you, 1 at the provider, 1 waiting

  batch            chunk           it says        answered     age  looked at
! -                c00004-00007    unresolved            0  5 h 51
  batch_f4916c21-… c00005-00003    in_progress       9,112  5 h 51   1:51 ago
    c00004-00007: no answer to its create within 300 s
  1 more: orchestrator batches reviews-mood-3f2a91c4 --all"""
    )


def test_a_wide_terminal_shows_whole_ids() -> None:
    assert SENT.batch_id in listed(SENT, width=120)


def test_a_batch_that_is_not_sent_has_no_age() -> None:
    assert listed(PLANNED, is_all=True).splitlines()[-1] == "  -                c00009-00001    planned               0"


def test_a_job_without_batches_says_so() -> None:
    assert listed() == "reviews-mood-3f2a91c4  no batch yet"


@pytest.mark.parametrize(
    ("name", "unit", "details", "text"),
    [
        ("job.opened", "", {"shards": 4}, "  begun: shards 4"),
        ("shard.finished", "3", {}, "  shard 3 its output is written"),
        ("chunk.submitted", "c0", {"attempt": 1, "batch": "b1", "rows": 9999}, "  c0 at the provider: b1, rows 9,999"),
        ("chunk.collected", "c0", {"attempt": 2, "succeeded": 9}, "  c0 collected: attempt 2, succeeded 9"),
        ("chunk.unresolved", "c0", {"error": "lost"}, "! c0 needs you: lost"),
        (
            "account.paused",
            "openai/KEY",
            {"reason": "no credit"},
            "! openai/KEY sending is paused for the account: no credit",
        ),
        ("a.thing_of_a_later_version", "", {}, "  thing_of_a_later_version"),
    ],
)
def test_an_entry_of_the_log(name: str, unit: str, details: dict[str, str | int], text: str) -> None:
    entry = timeline._entry(LedgerEvent(at=NOW, name=name, unit=unit, details=details))

    assert entry == f"{NOW.astimezone():%Y-%m-%d %H:%M:%S} {text}"


def test_what_is_said_again_and_again_is_one_entry() -> None:
    pause = LedgerEvent(at=NOW, name="account.paused", unit="a", details={"reason": "429"})
    other = replace(pause, details={"reason": "402"})

    runs = timeline._runs([pause, replace(pause, at=after(1)), other, pause])
    assert [len(alike) for alike in runs] == [2, 1, 1]


def test_batches_of_an_ended_job_are_listed_without_being_asked_for() -> None:
    done = replace(SENT, group=Group.COLLECTED, state=ChunkState.COLLECTED, word="completed", ended_at=after(-60))

    first, *lines = listed(*[done] * 21).splitlines()

    assert first == "reviews-mood-3f2a91c4  21 collected"
    assert sum("batch_f4916c21" in line for line in lines) == 20
    assert lines[-1] == "  1 more: orchestrator batches reviews-mood-3f2a91c4 --all"
