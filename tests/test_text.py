"""What people read about a job: one line of progress, and what `status` says beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import settings as configuration
from orchestrator.api.prepare import places, prepare
from orchestrator.api.result import Result
from orchestrator.api.status import Status, UnresolvedChunk
from orchestrator.cli import status_text, text
from orchestrator.domain.model import ChunkState, JobState
from orchestrator.domain.policy import OutputOptions, Price
from orchestrator.domain.progress import Totals, Trouble
from orchestrator.engine.job_context import JobContext, planning_of
from orchestrator.planner.estimate import Estimate, estimate
from tests.builders import NOW, after
from tests.cli.looks import NO_NAMES, a_status
from tests.sums import sums

SUBMITTED = {ChunkState.SUBMITTED: 3}
RETRIED = Trouble(reason="503", chunks=1, since=NOW, next_at=after(90))
DEFAULT_WORK = configuration.load({}).work
UNRESOLVED = UnresolvedChunk(
    chunk="c0-1",
    requests=9,
    sent_at=datetime(2026, 1, 1, tzinfo=UTC),
    attempt=1,
    cost_usd_max=Decimal(1),
    reason="sent with another key",
)


def totals(**fields: Any) -> Totals:
    none: dict[str, Any] = {"shards": 1, "shards_planning": 0, "rows": 1_200, "settled": 0}
    return Totals(**(none | {"refused": 0} | fields))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"reason": "the budget is used up"}, "  stopped: the budget is used up"),
        (
            {"reason": "all rows failed", "decision": "canary"},
            """  stopped: all rows failed
  It waits for your decision.
  to go on:
    orchestrator approve job-1
  to end it, and keep what was answered:
    orchestrator cancel job-1""",
        ),
        ({"pause_reason": "401: no"}, "  sending is paused for the account: 401: no"),
        (
            {
                "troubles": (
                    Trouble(reason="503", chunks=1, since=NOW, next_at=after(90)),
                    Trouble(reason="x", chunks=7),
                )
            },
            """  1 chunk being retried (since 2026-11-22 12:00:00 UTC, next 2026-11-22 12:01:30 UTC), after: 503
  7 chunks being retried, after: x""",
        ),
        (
            {"overdue": 1, "overdue_batch": "batch_7"},
            "  overdue: batch batch_7 should have ended more than a day ago",
        ),
        (
            {"overdue": 1_235, "overdue_batch": "batch_7"},
            "  overdue: batch batch_7, and 1,234 more, should have ended more than a day ago",
        ),
        (
            {
                "chunks": {ChunkState.UNRESOLVED: 2},
                "troubles": (Trouble(reason="HTTP 403", chunks=2, is_unresolved=True),),
            },
            """  2 chunks unresolved: it is not known whether the create made a batch.
  2 chunks: HTTP 403
  to see what was sent, and say what became of it:
    orchestrator resolve job-1""",
        ),
        (
            {"chunks": {ChunkState.UNRESOLVED: 1}, "waits_for_canary": True},
            """  1 chunk unresolved: it is not known whether the create made a batch: the canary, so the rest waits.
  to see what was sent, and say what became of it:
    orchestrator resolve job-1""",
        ),
    ],
)
def test_a_status_names_each_thing_that_keeps_a_job(fields: Mapping[str, Any], line: str) -> None:
    of_status = {name: value for name, value in fields.items() if name in Status.__dataclass_fields__}
    of_totals = {name: value for name, value in fields.items() if name not in of_status}
    found = a_status(JobState.RUNNING, totals(**of_totals), **of_status)

    assert status_text.notes(found, DEFAULT_WORK).splitlines() == line.splitlines()


def test_an_ended_job_is_not_said_to_be_stopped() -> None:
    """Cancelled after it had stopped: the reason is past."""
    found = a_status(JobState.CANCELLED, totals(), reason="all rows failed")

    assert "stopped" not in status_text.notes(found, DEFAULT_WORK)


def test_what_to_type_next_names_the_work_folder_unless_it_is_the_default() -> None:
    waiting = a_status(JobState.RUNNING, totals(chunks={ChunkState.UNRESOLVED: 1}))

    listed = status_text.unresolved("job-1", [UNRESOLVED], "s3://bucket/work").splitlines()

    assert status_text.notes(waiting, "/my work").endswith("orchestrator resolve job-1 --work '/my work'")
    assert [line.strip() for line in listed if line.startswith("    ")] == [
        "orchestrator resolve job-1 c0-1 --batch ID --work s3://bucket/work",
        "orchestrator resolve job-1 c0-1 --absent --work s3://bucket/work",
        "orchestrator resolve job-1 --same-account --work s3://bucket/work",
    ]
    assert "--work" not in status_text.unresolved("job-1", [UNRESOLVED], DEFAULT_WORK)


def test_a_plan_says_the_price_its_source_and_what_to_know_before_anything_is_sent() -> None:
    """Expected and at most; an unknown cost is called so, and is not 0."""
    price = Price(input_usd=Decimal("0.05"), output_usd=Decimal("0.25"), source="a list", read="2026-12-01")
    known = Estimate(
        rows=3,
        requests=3,
        refused=0,
        chunks=1,
        request_bytes=300,
        tokens_in=100,
        tokens_out_max=30,
        cost_usd_max=Decimal("0.002"),
        cost_usd_expected=Decimal("0.001"),
        price=price,
        notes=("openai ends m in 45 days, on 2027-01-14",),
        exact=True,
        rows_read=3,
        samples=(),
    )
    shown = text.plan_text("job-1", known)
    own = text.plan_text("job-1", replace(known, price=replace(price, source="")))
    unknown = text.plan_text("job-1", replace(known, price=None, cost_usd_max=None, cost_usd_expected=None))

    assert "at most 0.002000 USD; about 0.001000 if answers are half as long" in shown
    assert "0.05 in, 0.25 out, USD per million tokens (a list, read 2026-12-01)" in shown
    assert "note        openai ends m in 45 days, on 2027-01-14" in shown
    assert "(your settings)" in own
    assert "cost        unknown: no price of this model is known" in unknown
    assert "0.000" not in unknown


def test_a_plan_of_rows_that_nobody_has_counted_is_not_said_to_be_of_all(tmp_path: Path) -> None:
    """Numbers of the first rows alone are called that, whatever they are of."""
    given: dict[str, Any] = {"dataset": tmp_path / "rows.csv", "prompt": "{text}", "model": "gpt-5-mini"}
    (tmp_path / "rows.csv").write_text("text,other\n" + "".join(f"row {row % 3},\n" for row in range(30)))
    job = orchestrator.Job(**given, work=tmp_path / "work", policy={"dedupe": True})
    prepared = prepare(job, *places(job))
    context = JobContext(spec=prepared.spec, work=str(tmp_path), opened=prepared.source)
    planning = replace(planning_of(context, job.resolved_policy), slice_rows=10)

    part = estimate(planning, canary_rows=0, rows_max=10)
    counted = estimate(planning, canary_rows=0, rows_max=10, rows=prepared.source.read_through())

    told = " ".join(text.plan_text("job-1", part).split())
    assert "rows more than 10; the file is too large" in told
    assert "requests at least 3 in at least 1 batch" in told
    assert told.count("of the first 10 rows: at most") == 2
    assert "duplicates at least 7 of requests repeat a request; each is sent once. Only the first 10 rows" in told
    assert (part.cost_bound(None), part.cost_bound(Decimal(9))) == (None, 9)
    assert counted.cost_bound(None) == counted.cost_usd_max
    told = " ".join(text.plan_text("job-1", counted).split())
    assert "rows 30 " in told
    assert "requests about 9 in about" in told
    assert "about 21 of 30 rows repeat a request" in told
    assert "judged by the first 10 rows" in told


def test_the_report_counts_answers_that_are_not_whole_by_name() -> None:
    found = totals(rows=10, settled=10, succeeded=9, failed=1, truncated_answers=2, refused_answers=1)
    report = text.report("job-1", found, {"content_filter": 1})

    assert "= 9 succeeded + 1 failed" in report
    assert "truncated            2  of the succeeded: cut at a limit of tokens" in report
    assert "refused              1  of the succeeded: the model or a filter refused" in report
    assert "empty" not in report


@pytest.mark.parametrize(
    ("fields", "said", "exact", "in_json"),
    [
        ({"cost_usd": Decimal("0.5")}, "0.50 USD", Decimal("0.5"), "0.5"),
        ({"cost_usd": Decimal("0.5"), "unpriced": 2}, "at least 0.50 USD", Decimal("0.5"), "0.5"),
        ({"unpriced": 2}, "unknown", None, None),
        ({"cost_usd": Decimal("0E-9")}, "0.00 USD", Decimal(0), "0.000000000"),
    ],
)
def test_a_cost_that_is_not_known_is_not_nothing(
    fields: Mapping[str, Any], said: str, exact: Decimal | None, in_json: str | None
) -> None:
    """Rule: unknown is "unknown" or a minimum, None in Python, null in JSON; and no amount is printed as 0E-9."""
    found = totals(rows=3, settled=3, succeeded=3, **fields, reserved_usd=Decimal("0E-9"))
    status = a_status(JobState.FINISHED, found, "job-1")
    result = Result(status=status, path="output", options=OutputOptions(), names=NO_NAMES)

    [line] = [line for line in text.report("job-1", found, {}).splitlines() if line.startswith("  cost")]
    assert line.split("cost", 1)[1].strip().startswith(said)
    assert (result.cost_usd, status.look.money.spent) == (exact, exact)
    assert (sums(status.as_dict())["cost_usd"], sums(status.as_dict())["reserved_usd"]) == (in_json, "0.000000000")
    assert (">0.00<" in result._repr_html_()) == (exact == 0)


def test_the_last_lines_of_a_run_say_what_to_type_about_answers_that_are_not_whole() -> None:
    found = totals(rows=9, settled=9, succeeded=9, truncated_answers=2, refused_answers=1)
    status = a_status(JobState.FINISHED, found, "job-1")

    first, *ways = status_text.flawed_answers(status, DEFAULT_WORK).splitlines()

    assert first.startswith("  3 answers are not whole. `orchestrator retry` with the same --rows sends them again")
    assert "`--set max_tokens=N`" in first
    assert ways == [
        "  to see the truncated ones:",
        "    orchestrator results job-1 --rows truncated",
        "  to see the refused ones:",
        "    orchestrator results job-1 --rows refused",
    ]
    assert status_text.flawed_answers(replace(status, totals=totals(succeeded=9)), DEFAULT_WORK) == ""


def test_rows_that_cannot_be_read_are_offered_to_be_read_before_they_are_paid_for_again() -> None:
    """`retry` alone leaves them, and refuses where there are no others: each command named works as it is typed."""
    found = a_status(JobState.FINISHED, totals(failed=2), "a-1")
    kept = replace(found, totals=totals(failed=2, unreadable_rows=1))
    alone = replace(found, totals=totals(failed=2, unreadable_rows=2))

    assert status_text.failed_rows(found, DEFAULT_WORK).splitlines()[3:] == [
        "  to send them again:",
        "    orchestrator retry a-1",
    ]
    assert status_text.failed_rows(kept, DEFAULT_WORK).splitlines()[3:] == [
        "  to read unreadable answers again, for nothing:",
        "    orchestrator reread a-1",
        "  to send them again, but for the unreadable ones:",
        "    orchestrator retry a-1",
        "  to send them again, and pay for the unreadable ones again:",
        "    orchestrator retry a-1 --unreadable",
    ]
    assert "    orchestrator retry a-1" not in status_text.failed_rows(alone, DEFAULT_WORK).splitlines()


def test_the_report_of_a_job_that_has_not_ended_adds_up() -> None:
    """Rows are succeeded, failed or not done."""
    told = text.report("a-1", totals(rows=300, succeeded=240, failed=1), {})

    assert "= 240 succeeded + 1 failed + 59 not done" in told


def test_the_report_of_a_job_without_an_output_names_the_codes_that_the_ledger_has() -> None:
    """A line of a row is not an answer: it may be one that cannot be read."""
    found = totals(rows=40, succeeded=0, failed=22, lines=20, missing=2, unreadable_rows=20)

    lines = text.report("a-1", found, {}).splitlines()

    assert "  rows                  40  = 0 succeeded + 22 failed + 18 not done" in lines
    assert "    failed              20  unreadable" in lines
    assert "    failed               2  (codes are in the output, once it is written)" in lines
    assert "  lines                 20  = 20 of rows" in lines
    assert "  sends                 22  = 20 with a line + 2 without one" in lines
