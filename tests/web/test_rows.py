"""The pages of rows: they hold what the output holds, as text, and find what was asked for."""

from __future__ import annotations

import re
import threading
import time

import pytest
from starlette.testclient import TestClient

import orchestrator
from orchestrator.api.row_pages import ListedRow, row_page
from orchestrator.api.viewer import Viewer
from orchestrator.domain.errors import StorageError
from orchestrator.domain.model import JobId
from orchestrator.domain.row_filter import row_filter
from orchestrator.web.reading import FileReaders
from tests.web.words import TEXTS, job_named, words


def listed(viewer: Viewer, job: str, *, limit: int = 7, s: float = 60, **wanted: str) -> list[ListedRow]:
    """Return all rows that a filter finds, page by page."""
    found: list[ListedRow] = []
    start: tuple[int, int] | None = (0, 0)
    while start is not None:
        until = time.monotonic() + s
        page = row_page(viewer.workspace, JobId(job), row_filter(**wanted), start=start, limit=limit, until=until)
        assert len(page.rows) <= limit
        assert page.next is None or page.next > start
        found += page.rows
        start = page.next
    return found


def test_the_pages_hold_every_row_of_the_output_once_in_its_order(viewer: Viewer, ended: str) -> None:
    output = orchestrator.open_job(ended, work=viewer.work).results().to_arrow().to_pylist()

    found = listed(viewer, ended)

    assert [one.custom_id for one in found] == [row["custom_id"] for row in output]
    assert [one.answer for one in found] == [row["llm_response"] for row in output]
    assert [one.is_answered for one in found] == [row["llm_status"] == "succeeded" for row in output]
    assert [one.round for one in found] == [row["llm_attempts"] for row in output]
    assert [one.asked for one in found] == TEXTS


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"shown": "failed"}, [20, 22, 26]),
        ({"cause": "content_filter"}, [20, 26]),
        ({"cause": "server_error"}, [22]),
        ({"cause": "no_such_cause"}, []),
        ({"shown": "truncated"}, [23]),
        ({"shown": "empty"}, [24, *range(28, 47)]),
        ({"shown": "refused"}, []),
        ({"shown": "reused"}, []),
        ({"shown": "answered"}, [row for row in range(47) if row not in (20, 22, 26)]),
        ({"text": "BLOCKED"}, [20, 26]),
        ({"text": "straSSe zip"}, [27]),
        ({"text": "re: fine 1", "where": "answer"}, [1, *range(10, 20)]),
        ({"text": "re: fine 1", "where": "request"}, []),
        ({"text": "fine 3", "shown": "failed"}, []),
        ({"text": "violence"}, [20, 26]),
        ({"chunk": "c00000-00001"}, list(range(16, 32))),
        ({"chunk": "r00001", "shown": "answered"}, [21]),
    ],
)
def test_a_filter_finds_its_rows_and_no_others(
    viewer: Viewer, ended: str, wanted: dict[str, str], rows: list[int]
) -> None:
    assert [one.row for one in listed(viewer, ended, **wanted)] == rows
    assert [one.row for one in listed(viewer, ended, limit=1, **wanted)] == rows
    assert [one.row for one in listed(viewer, ended, s=-1, **wanted)] == rows, "each page gets on, however little time"


def test_reused_answers_name_the_job_that_paid(viewer: Viewer, ended: str) -> None:
    second = job_named(viewer, "ended", 12)

    found = listed(viewer, second, shown="reused")

    assert [one.row for one in found] == list(range(12))
    assert {one.reused_from for one in found} == {ended}


def test_of_a_job_that_waits_the_rows_that_are_here_are_shown(viewer: Viewer, browser: TestClient) -> None:
    job = job_named(viewer, "open", 1_100)

    assert len(listed(viewer, job)) == 4
    page = words(browser.get(f"/jobs/{job}/rows").text)
    assert "What is here so far: 4 of 1,100 rows" in page
    assert "failed: content_filter · category violence" in page


def test_a_search_whose_time_is_over_says_how_far_it_came_and_goes_on(
    browser: TestClient, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.web.rows.LOOK_S", -1.0)
    page = browser.get(f"/jobs/{ended}/rows?shown=failed&text=busy").text

    assert re.search(r"Looked through \d+ of 47 rows", words(page))
    [going_on] = re.findall(r'href="([^"]*)">Go on', page)
    assert "text=busy" in going_on
    assert "at=0-" in going_on


def test_pages_follow_each_other_with_the_filter_kept(browser: TestClient, ended: str) -> None:
    monkey = browser.get(f"/jobs/{ended}/rows?shown=empty&at=0-30").text

    assert "From the beginning" in monkey
    assert 'href="/jobs/' in monkey
    assert "These are the last" in words(monkey)
    assert words(monkey).count("empty") >= 17


def test_what_a_row_and_an_answer_hold_is_text(browser: TestClient, ended: str) -> None:
    """Also where it is marked as found, and what would turn the text around is shown as it is written."""
    for path in ("rows", "rows?text=script", "rows?text=%3Cscript%3E", "rows/0-25", "rows?text=%22%3E%3Cscript%3E"):
        page = browser.get(f"/jobs/{ended}/{path}").text

        assert "<script>alert" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert r"\u202egnp.exe" in browser.get(f"/jobs/{ended}/rows/0-25").text
    assert "<mark>&lt;script&gt;</mark>" in browser.get(f"/jobs/{ended}/rows?text=%3Cscript%3E").text


def test_a_row_is_told_from_its_source_to_its_answer(browser: TestClient, ended: str) -> None:
    page = words(browser.get(f"/jobs/{ended}/rows/0-21").text)

    assert "rows · 21 ✓ answered" in page
    assert '"content": "busy once 21"' in page
    assert "re: busy once 21" in page
    assert "server_error try later · sent again" in page
    assert "Round 1 : collected" in page
    assert "Round 2 : collected" in page
    assert "results.jsonl.zst, line" in page
    assert "text busy once 21 n 21" in page
    assert f"orchestrator show {ended}" in page


def test_a_row_without_an_answer_yet_is_told_as_far_as_it_is(viewer: Viewer, browser: TestClient) -> None:
    job = job_named(viewer, "open", 1_100)

    page = words(browser.get(f"/jobs/{job}/rows/0-700").text)

    assert "◌ no answer yet" in page
    assert "text blocked 700" in page
    assert "Nothing yet." in page


def test_a_row_leads_to_those_beside_it_and_failures_to_their_rows(browser: TestClient, ended: str) -> None:
    first, last = browser.get(f"/jobs/{ended}/rows/0-0").text, browser.get(f"/jobs/{ended}/rows/0-46").text

    assert 'rel="prev"' not in first
    assert f'href="/jobs/{ended}/rows/0-1" rel="next"' in first
    assert 'rel="next"' not in last
    listing = browser.get(f"/jobs/{ended}/rows").text
    assert f'href="/jobs/{ended}/rows/0-25"' in listing


def test_a_row_is_found_by_its_number_its_place_and_its_id(viewer: Viewer, browser: TestClient, ended: str) -> None:
    custom_id = listed(viewer, ended)[21].custom_id

    for named in ("21", "0/21", custom_id, "key:21", "key:0/21", f"key:{custom_id}"):
        way = browser.get(f"/jobs/{ended}/rows", params={"find": named})
        assert way.status_code == 303
        assert "busy once 21" in browser.get(way.headers["location"]).text


@pytest.mark.parametrize(
    "path",
    [
        "rows/0-99",
        "rows/999999999-999999999",
        "rows/" + "9" * 5_000,
        "rows?at=99999999999999999999-1",
        "rows?at=%D9%A3-%D9%A3",
        "rows/7-0",
        "rows/none",
        "rows?at=first",
        "rows?shown=all%20of%20them",
        "rows?chunk=c9",
    ],
)
def test_what_is_not_there_is_said(browser: TestClient, ended: str, path: str) -> None:
    answered = browser.get(f"/jobs/{ended}/{path}")

    assert answered.status_code == 404
    assert len(answered.text) > 20


def test_a_folder_that_does_not_answer_is_said_after_a_while() -> None:
    hang = threading.Event()
    with pytest.raises(StorageError, match=r"has not answered for 0\.01 seconds"):
        FileReaders(limit_s=0.01).run(hang.wait)
    hang.set()
