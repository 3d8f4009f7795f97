"""A job's page: failures with an example, charts, the map, and what an ended job came to."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import orchestrator
from orchestrator.api import spread
from orchestrator.api.spread import Histogram, histogram
from orchestrator.api.viewer import Viewer
from orchestrator.domain.model import JobId
from orchestrator.domain.pictures import ChunkMap, Course, Durations, Square
from orchestrator.web.charts import histogram_chart, money_chart, rows_chart, strip_chart
from orchestrator.web.chunk_map import cells, chosen, told
from tests.builders import NOW
from tests.web.words import EVIL, TEXTS, job_named, words

SQUARE: Final = Square(
    first="c00000-00000",
    last="c00000-00000",
    chunks=1,
    rows=100,
    answered=0,
    failed=0,
    at_provider=0,
    answered_there=0,
    to_send_again=0,
    moved=0,
    unresolved=0,
    given_up=0,
)
COURSE: Final = Course(
    begun_at=NOW,
    width=timedelta(minutes=30),
    answered=[0, 1_200, 800, 0],
    spent=[Decimal(0), Decimal(2), Decimal(5), Decimal(5)],
    reserved=[Decimal(4), Decimal(6), Decimal(0), Decimal(0)],
    now=NOW + timedelta(hours=2),
)


def test_failures_lead_to_their_rows_and_to_one_of_them(browser: TestClient, ended: str) -> None:
    page = browser.get(f"/jobs/{ended}").text

    assert f'href="/jobs/{ended}/rows">Rows</a>' in page
    for way in ("rows?cause=content_filter", "rows?cause=server_error", "rows/0-20", "rows?shown=truncated"):
        assert f'href="/jobs/{ended}/{way}"' in page
        assert browser.get(f"/jobs/{ended}/{way}").status_code == 200
    assert "2 The provider's filter refused the answer content_filter" in words(page)
    assert browser.get(f"/jobs/{ended}/failures").text.strip() in page


def test_an_example_of_a_cause_is_read_apart_and_is_text(browser: TestClient, ended: str) -> None:
    example = words(browser.get(f"/jobs/{ended}/example?cause=content_filter").text)

    assert example == "Row 20 asked blocked 20 Came back category violence"
    assert "(an empty text)" in browser.get(f"/jobs/{ended}/example?shown=empty").text
    assert browser.get(f"/jobs/{ended}/example?cause=none").text.strip() == ""
    assert EVIL not in browser.get(f"/jobs/{ended}/example?shown=answered").text


def test_an_ended_job_is_reported_with_its_output(viewer: Viewer, browser: TestClient, ended: str) -> None:
    page = words(browser.get(f"/jobs/{ended}").text)

    assert "Report what it came to" in page
    assert re.search(r"sent \d+ requests in \d+ batches : 47 for the first time, 2 in round 2, 1 in round 3", page)
    assert re.search(r"tokens [1-9]\d* in, [1-9]\d* out", page)
    assert f"{viewer.work}/{ended}/output" in page
    assert re.search(rf"orchestrator export {ended} .*--output answers\.parquet", page)
    open_job = job_named(viewer, "open", 1_100)
    assert "what it came to" not in browser.get(f"/jobs/{open_job}").text
    second = words(browser.get(f"/jobs/{job_named(viewer, 'ended', 12)}").text)
    assert "reused 12 answers not sent, not paid" in second


def test_the_output_is_downloaded_as_it_is(viewer: Viewer, browser: TestClient, ended: str) -> None:
    output = orchestrator.open_job(ended, work=viewer.work).results().to_arrow().to_pylist()

    lines = browser.get(f"/jobs/{ended}/download.jsonl")
    table = browser.get(f"/jobs/{ended}/download.csv?rows=failed")

    assert lines.headers["content-disposition"] == f'attachment; filename="{ended}.jsonl"'
    assert [json.loads(line)["llm_response"] for line in lines.text.splitlines()] == [
        row["llm_response"] for row in output
    ]
    assert [row["text"] for row in csv.DictReader(io.StringIO(table.text))] == [
        row["text"] for row in output if row["llm_status"] == "failed"
    ]
    assert browser.get(f"/jobs/{ended}/download.xlsx").status_code == 404
    assert browser.get(f"/jobs/{ended}/download.csv?rows=none").status_code == 404


def test_of_a_job_that_waits_what_is_answered_so_far_is_downloaded(viewer: Viewer, browser: TestClient) -> None:
    job = job_named(viewer, "open", 1_100)

    assert len(browser.get(f"/jobs/{job}/download.jsonl").text.splitlines()) == 4


def test_the_map_is_one_tab_stop_and_says_what_a_square_holds(browser: TestClient, ended: str) -> None:
    page = browser.get(f"/jobs/{ended}?square=c00000-00001").text

    [planned, again] = re.findall(r'<div class="map" data-map.*?</div>', page, re.DOTALL)
    assert planned.count("<a ") == 3
    assert planned.count('tabindex="-1"') == 2
    assert 'aria-current="true"' in planned
    assert "aria-current" not in again
    assert "r00001" in again
    beside = words(browser.get(f"/jobs/{ended}/square?square=c00000-00001").text)
    assert beside.startswith("chunk c00000-00001 state collected")
    assert f"/jobs/{ended}/rows?chunk=c00000-00001" in browser.get(f"/jobs/{ended}/square?square=c00000-00001").text
    assert browser.get(f"/jobs/{ended}/square?square=c00099-00000").status_code == 404
    assert len(TEXTS) == sum(int(found) for found in re.findall(r"(\d+) answered", planned)) + 4


def test_parts_of_the_page_are_asked_for_anew_while_a_job_runs_and_not_after(
    viewer: Viewer, browser: TestClient, ended: str
) -> None:
    job = job_named(viewer, "open", 1_100)

    for part in ("charts", "map"):
        assert f'hx-get="/jobs/{job}/{part}"' in browser.get(f"/jobs/{job}").text
        assert f'hx-get="/jobs/{ended}/{part}"' not in browser.get(f"/jobs/{ended}").text
        assert "<html" not in browser.get(f"/jobs/{job}/{part}").text


@pytest.mark.parametrize(
    ("fields", "kind", "words_"),
    [
        ({}, "wait", "100 waiting"),
        ({"answered": 97, "failed": 3}, "answered", "97 answered, 3 failed"),
        ({"answered": 98, "moved": 2}, "answered", "98 answered, 2 sent again in other batches"),
        ({"at_provider": 100}, "fly", "100 at the provider"),
        ({"at_provider": 100, "answered_there": 40}, "mix", "100 at the provider"),
        ({"answered": 98, "to_send_again": 2}, "again", "98 answered, 2 to send again"),
        ({"failed": 100, "given_up": 1}, "fail", "100 failed"),
        ({"chunks": 50, "answered": 98, "unresolved": 1}, "need", "1 batch needs you, 98 answered"),
    ],
)
def test_an_exception_takes_the_square_and_the_rest_fills_it(fields: dict[str, int], kind: str, words_: str) -> None:
    square = replace(SQUARE, **fields)

    [cell] = cells([square])

    assert cell.kind == kind
    assert told(square) == words_
    if kind == "mix":
        assert cell.style == "--a:0%;--b:40%;--c:100%"


def test_a_square_is_chosen_by_any_chunk_in_it_or_by_what_needs_a_look() -> None:
    squares = [replace(SQUARE, first=f"c00000-0000{n}", last=f"c00000-0000{n + 1}") for n in (0, 2, 4)]
    found = ChunkMap(
        planned=[*squares[:2], replace(squares[2], unresolved=1)],
        again=[replace(SQUARE, first="r00000", last="r00009")],
    )

    assert chosen(found, "c00000-00003") == squares[1]
    assert chosen(found, "r00004") == found.again[0]
    assert chosen(found, "c00001-00000") is None
    assert chosen(found, "") == found.planned[2]
    assert chosen(ChunkMap(planned=squares, again=[]), "") == squares[0]
    assert chosen(ChunkMap(planned=[], again=[]), "") is None


def test_charts_stand_on_whole_numbers_and_stay_in_their_frame() -> None:
    rows = rows_chart(COURSE)
    money = money_chart(COURSE, None)

    assert rows.left == ("2,000", "1,000", "0")
    assert rows.note == "in each 30 minutes, when their batch was collected"
    assert dict(rows.shapes)["f-answered"].startswith("M270.0 120v-72.0h")
    assert money.left == ("10.00", "5.00", "0")
    assert dict(money.shapes)["f-fly"] == "M0 72.0H250.0V24.0H500.0V60.0H750.0V60.0H1000.0V120H0z"
    for chart in (rows, money):
        assert all(0 <= label.at <= 96 for label in chart.under)
        assert 2 <= len(chart.under) <= 7


def test_bins_begin_at_1_2_and_5_and_hold_every_number_above_0() -> None:
    found = histogram([pa.chunked_array([[1, 1, 2, 4, 5]]), pa.chunked_array([[49, 50], [0, None]])])
    small = histogram([pa.chunked_array([[0.0000002, 0.00003]])])

    assert found == Histogram(begins=[1, 2, 5, 10, 20, 50], counts=[2, 2, 1, 0, 1, 1])
    assert small is not None
    assert [begin for begin, count in zip(small.begins, small.counts, strict=True) if count] == [2e-7, 2e-5]
    assert histogram([pa.chunked_array([[0, None]])]) is None
    assert histogram([]) is None
    chart = histogram_chart("Cost", small, is_money=True)
    assert [label.word for label in chart.under] == ["0.0000002", "0.000001", "0.000005", "0.00002"]
    assert chart.left == ("1", "", "0")


def test_how_answers_are_spread_is_told_of_all_of_a_small_job(browser: TestClient, ended: str, viewer: Viewer) -> None:
    page = browser.get(f"/jobs/{ended}/spread")
    part = browser.get(f"/jobs/{ended}/spread", headers={"hx-request": "true"})
    rows = re.findall(r'href="/jobs/[^"]*/rows/([^"]*)"', part.text)

    assert "<h1>" in page.text
    assert "<h1>" not in part.text
    answers = viewer.look(JobId(ended)).rows.answered
    assert f"Of {answers} answers." in words(part.text)
    assert f"The dearest rows of {answers} answers Row Tokens in" in words(part.text)
    assert len(rows) == len(set(rows)) == 10
    assert f'hx-get="/jobs/{ended}/spread"' in browser.get(f"/jobs/{ended}").text


def test_of_a_large_job_few_parts_are_read(viewer: Viewer, ended: str) -> None:
    """Those evenly over it, and those of the dearest batches; the page says so."""
    views, job_id = viewer.workspace.views, JobId(ended)
    total, all_parts = views.spread_parts(job_id, 100)
    few = views.spread_parts(job_id, 2)
    priced, [dearest] = views.dearest_parts(job_id, 1)

    assert total == len(all_parts) == priced >= 3
    assert few == (total, [all_parts[0], all_parts[total // 2]])
    assert dearest in all_parts
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spread, "SAMPLE_PARTS", 2)
        patched.setattr(spread, "DEAREST_PARTS", 1)
        found = spread.spread_of(viewer.workspace, job_id, until=time.monotonic() + 60)
        late = spread.spread_of(viewer.workspace, job_id, until=0)
    assert (found.batches, found.dearest_batches, found.is_all, found.is_dearest_of_all) == (2, 1, False, False)
    assert 0 < found.dearest_of < found.answers <= viewer.look(job_id).rows.answered
    assert (late.batches, late.dearest_batches) in ((1, 0), (1, 1)), "one part is read, however late it is"


def test_the_dearest_rows_are_those_of_the_output(viewer: Viewer, ended: str) -> None:
    """A dear row in a cheap batch, too; a row that was sent again is there once."""
    found = spread.spread_of(viewer.workspace, JobId(ended), until=time.monotonic() + 60)
    table = viewer.handle(JobId(ended)).results().to_pandas()
    costs = table.loc[table["llm_status"] == "succeeded", "llm_cost_usd"].sort_values(ascending=False)

    assert [one.cost_usd for one in found.dearest] == list(costs[: spread.DEAREST])
    assert found.dearest_of == len(costs)
    assert found.is_dearest_of_all


def test_a_part_that_is_missing_or_damaged_is_named_and_the_rest_is_shown(
    browser: TestClient, viewer: Viewer, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = JobId(ended)
    folder = Path(viewer.work) / ended
    _, [missing, damaged, *_] = viewer.workspace.views.spread_parts(job_id, 100)
    kept = {name: (folder / name).read_bytes() for name in (missing, damaged)}
    whole = spread.spread_of(viewer.workspace, job_id, until=time.monotonic() + 60)
    try:
        (folder / missing).unlink()
        (folder / damaged).write_bytes(b"PAR1 not what it was")
        found = spread.spread_of(viewer.workspace, job_id, until=time.monotonic() + 60)
        page = browser.get(f"/jobs/{ended}/spread")
        monkeypatch.setattr(spread, "UNREAD_MAX", 1)
        few = spread.spread_of(viewer.workspace, job_id, until=time.monotonic() + 60)
    finally:
        for name, content in kept.items():
            (folder / name).write_bytes(content)

    assert 0 < found.answers < whole.answers
    assert len(found.dearest) == spread.DEAREST
    assert (found.is_all, found.is_dearest_of_all) == (True, True), "of what can be read"
    assert [missing in found.unread[0], damaged in found.unread[1], len(found.unread)] == [True, True, 2]
    assert len(few.unread) == 1
    assert page.status_code == 200
    told = words(page.text)
    assert "2 files of results cannot be read: their answers are left out below." in told
    assert f"{missing}: cannot be read: No such file" in told
    assert f"{damaged} cannot be read: ArrowInvalid" in told
    assert f"orchestrator audit {ended}" in told
    assert f"Of {found.answers} answers." in told
    assert f"The dearest rows of {found.dearest_of} answers Row" in told
    assert (few.is_all, few.is_dearest_of_all) == (False, False)


def test_a_budget_that_is_near_is_a_line_and_one_that_is_far_is_only_said() -> None:
    near, far = money_chart(COURSE, Decimal(16)), money_chart(COURSE, Decimal(500))

    assert dict(near.shapes)["l-cap"] == "M0 0.0H1000"
    assert near.left[0] == "16.00"
    assert "l-cap" not in dict(far.shapes)
    assert "the budget is 500.00" in far.note


def test_a_batch_that_takes_longer_than_any_before_is_apart() -> None:
    """Minutes on the axis; the slowest finished one took three."""
    found = Durations(
        width=timedelta(minutes=1),
        finished=[0, 2, 1, 0, 0, 0],
        in_flight=[1, 0, 0, 0, 0, 1],
        fastest=timedelta(minutes=1),
        middle=timedelta(minutes=2),
        slowest=timedelta(minutes=3),
    )

    chart = strip_chart(found)

    shapes = dict(chart.shapes)
    assert shapes["l-answered"].count("M") == 2
    assert shapes["l-there"] == "M83.3 24V42"
    assert shapes["l-again"] == "M916.7 24V42"
    assert "3 finished, fastest 1:00, half within 2:00, slowest 3:00; 2 in flight" in chart.note


def test_a_course_of_one_bin_and_of_nothing_is_drawn() -> None:
    nothing = replace(COURSE, answered=[0], spent=[Decimal(0)], reserved=[Decimal(0)], width=timedelta(seconds=1))

    assert rows_chart(nothing).left == ("1", "", "0")
    assert money_chart(nothing, Decimal(0)).left[2] == "0"
