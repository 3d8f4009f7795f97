"""The outbox: what is told is there with what it tells, and is sent by one sender at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.domain.budget import Spending, used_up
from orchestrator.domain.changes import AccountPaused, JobMoved
from orchestrator.domain.model import JobState
from orchestrator.domain.notices import Again, Kind, Notice
from orchestrator.ledger.notices import SqlNotices
from orchestrator.ledger.workers import SqlWorkers
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, after
from tests.contract.ledger_harness import LedgerHarness
from tests.contract.threads import at_once

OWN = json.dumps({"notify": {"url_env": "HOOK", "format": "json", "on": ["finished"], "secret_env": ""}})
BEFORE = NOW - timedelta(hours=1)
USED_UP = used_up(Decimal(1), Spending(settled=Decimal(1)), Decimal(1))


@pytest.fixture
def outbox(harness: LedgerHarness) -> SqlNotices:
    return SqlNotices(harness.database)


def taken(outbox: SqlNotices, now: datetime = NOW, *, with_default: bool = True) -> list[Notice]:
    """Take all that is due."""
    found = []
    while notice := outbox.take(now=now, with_default=with_default):
        found.append(notice)
    return found


def kinds(found: list[Notice]) -> list[tuple[str, str]]:
    return [(notice.kind.value, notice.reason) for notice in found]


def stop(harness: LedgerHarness, reason: str, decision: str = "") -> None:
    job = harness.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason=reason, decision=decision)
    harness.write(JobMoved(before=job, after=stopped, due_at=NOW))


def pause(harness: LedgerHarness, seconds: float, *, needs_person: bool = False, now: datetime = NOW) -> None:
    until = now + timedelta(seconds=seconds)
    paused = AccountPaused(account=ACCOUNT, until=until, reason="no credit", needs_person=needs_person)
    harness.write(paused, now=now)


def test_of_many_senders_one_gets_a_notice(harness: LedgerHarness, outbox: SqlNotices) -> None:
    harness.open()
    harness.put_job(JobState.FINISHED)
    found = list[Notice]()

    at_once(8, lambda _: found.extend(taken(outbox)))

    assert kinds(found) == [("finished", "")]
    outbox.sent(found[0], now=NOW)
    assert taken(outbox, after(86_000)) == []
    assert outbox.counts() == {"waiting": 0, "sent": 1, "given_up": 0, "unwanted": 0}


def test_a_notice_whose_sender_died_is_sent_by_another_and_only_that_ones_word_counts(
    harness: LedgerHarness, outbox: SqlNotices
) -> None:
    """The id is the same, so that a receiver knows a repetition."""
    harness.open()
    harness.put_job(JobState.FINISHED)
    (first,) = taken(outbox)
    assert taken(outbox, after(119)) == []

    (second,) = taken(outbox, after(121))
    outbox.give_up(first, "too late", now=after(122))

    assert (second.id, second.tries) == (first.id, 2)
    outbox.sent(second, now=after(123))
    assert outbox.counts()["sent"] == 1


def test_what_was_not_received_is_due_later_and_told_by_a_look(harness: LedgerHarness, outbox: SqlNotices) -> None:
    harness.open()
    harness.put_job(JobState.FINISHED)
    (first,) = taken(outbox)
    outbox.put_off(first, "answered 500", due_at=after(60))
    assert (taken(outbox, after(59)), outbox.failures(now=NOW, since=BEFORE).tried_again) == ([], 1)
    (second,) = taken(outbox, after(60))

    outbox.give_up(second, "answered 404", now=after(61))

    assert taken(outbox, after(80_000)) == []
    failures = outbox.failures(now=after(61), since=BEFORE)
    assert (failures.given_up, failures.tried_again, failures.error) == (1, 0, "answered 404")
    assert outbox.failures(now=after(61), since=after(1)).count == 0
    assert [event.name for _, event in harness.admin.events(JOB, limit=1, newest=True)] == ["notice.given_up"]


def test_what_was_put_off_or_given_up_is_taken_again_on_demand_and_what_is_being_sent_is_not(
    harness: LedgerHarness, outbox: SqlNotices
) -> None:
    harness.open()
    harness.put_job(JobState.FINISHED)

    def again(which: Again) -> Notice | None:
        return outbox.take(now=after(1), with_default=True, again=which)

    first = outbox.take(now=NOW, with_default=True)
    assert first is not None
    assert again(Again.GIVEN_UP_TOO) is None, "another process sends it"
    outbox.put_off(first, "answered 500", due_at=after(60))
    assert again(Again.WHEN_DUE) is None
    second = again(Again.NOW)
    assert second is not None
    outbox.give_up(second, "answered 410", now=after(1))
    assert again(Again.NOW) is None
    third = again(Again.GIVEN_UP_TOO)
    assert third is not None
    outbox.sent(third, now=after(1))

    assert (first.id, second.tries, third.tries) == (third.id, 2, 3)
    assert (outbox.counts()["sent"], again(Again.GIVEN_UP_TOO)) == (1, None)


def test_old_news_is_not_sent(harness: LedgerHarness, outbox: SqlNotices) -> None:
    """Whoever sets up notices gets none of the jobs of last year."""
    harness.open()
    harness.put_job(JobState.FINISHED)

    assert taken(outbox, after(86_401)) == []


def test_a_jobs_own_table_says_what_is_told_and_needs_no_settings_of_the_sender(
    harness: LedgerHarness, outbox: SqlNotices
) -> None:
    harness.open(a_job(spec=OWN))
    stop(harness, "a step failed")
    assert taken(outbox) == []
    harness.admin.resume(JOB, now=NOW)
    harness.put_job(JobState.FINISHED)

    (notice,) = taken(outbox, with_default=False)
    assert (notice.kind, notice.is_own) == (Kind.FINISHED, True)


def test_a_job_without_a_table_waits_for_a_sender_with_settings(harness: LedgerHarness, outbox: SqlNotices) -> None:
    harness.open()
    harness.put_job(JobState.FINISHED)

    assert taken(outbox, with_default=False) == []
    assert kinds(taken(outbox)) == [("finished", "")]


@pytest.mark.parametrize(
    ("reason", "decision", "kind"),
    [("the dataset is gone", "", "paused"), ("all failed", "canary", "needs_person"), (USED_UP, "", "budget")],
)
def test_each_stop_is_told_by_its_kind(
    harness: LedgerHarness, outbox: SqlNotices, reason: str, decision: str, kind: str
) -> None:
    harness.open()

    stop(harness, reason, decision)

    assert kinds(taken(outbox)) == [(kind, reason)]


def test_a_fleet_that_stops_a_job_tells_it_and_each_stop_anew(harness: LedgerHarness, outbox: SqlNotices) -> None:
    harness.open()
    workers = SqlWorkers(harness.database)
    workers.stop(JOB, "plan failed 5 times", now=NOW)
    workers.stop(JOB, "plan failed 6 times", now=NOW)
    harness.admin.resume(JOB, now=NOW)
    workers.stop(JOB, "plan failed 5 times", now=after(1))

    assert kinds(taken(outbox, after(1))) == [("paused", "plan failed 5 times")] * 2


def test_a_hundred_unresolved_creates_are_one_notice_for_hours(harness: LedgerHarness, outbox: SqlNotices) -> None:
    harness.open()
    for number, at in enumerate((0, 10, 6 * 3600 + 1)):
        name = f"c00000-0000{number}"
        harness.add(a_chunk(name))
        harness.move(a_chunk(name, state="unresolved", error="the answer was lost"), now=after(at))

    assert kinds(taken(outbox, after(6 * 3600 + 1))) == [("needs_person", "the answer was lost")] * 2


def test_an_account_that_is_paused_for_long_is_told_and_a_short_pause_is_not(
    harness: LedgerHarness, outbox: SqlNotices
) -> None:
    harness.open()
    pause(harness, 60)
    assert taken(outbox) == []

    pause(harness, 900, now=after(100))
    pause(harness, 900, now=after(1_100))
    pause(harness, 60, needs_person=True, now=after(9_000))

    assert kinds(taken(outbox, after(9_000))) == [("paused", "no credit"), ("needs_person", "no credit")]


def test_a_job_that_waits_for_its_budget_is_told_once(harness: LedgerHarness, outbox: SqlNotices) -> None:
    harness.open()
    assert not outbox.told_of_budget(JOB, now=NOW)

    for seconds in (0, 30):
        outbox.waits_for_budget(JOB, "1 of 1 USD is reserved", now=after(seconds))

    assert outbox.told_of_budget(JOB, now=after(30))
    assert kinds(taken(outbox, after(30))) == [("budget", "1 of 1 USD is reserved")]
