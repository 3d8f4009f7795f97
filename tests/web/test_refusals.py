"""What is refused or is not there, for programs and for people; and the log, page by page."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from starlette.testclient import TestClient

from orchestrator.api.background import Background
from orchestrator.api.documents.upkeep import Error
from orchestrator.api.viewer import Viewer
from orchestrator.domain.model import JobId
from orchestrator.engine.opening import opened_workspace
from orchestrator.web import app as web_app
from orchestrator.web.access import Access
from orchestrator.web.app import make_app
from tests.web.conftest import TOKEN
from tests.web.words import words

HOST: Final = "127.0.0.1:8484"


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "told"),
    [
        ("GET", "/api/nothing", {}, 404, "/api/jobs lists all jobs"),
        ("GET", "/api", {}, 404, "/api/jobs lists all jobs"),
        ("GET", "/api/jobs/a/b", {}, 404, "/api/jobs lists all jobs"),
        ("POST", "/api/jobs", {}, 405, "only read here, with GET"),
        ("DELETE", "/api/jobs/any", {}, 405, "only read here, with GET"),
        ("GET", "/api/jobs", {"authorization": "Bearer wrong"}, 401, "Authorization: Bearer TOKEN"),
        ("GET", "/api/jobs", {"host": "evil.example"}, 421, "not served at that name"),
        ("GET", "/api/jobs/%00", {}, 400, "null character"),
    ],
)
def test_programs_are_refused_with_a_document(
    viewer: Viewer, method: str, path: str, given: dict[str, str], status: int, told: str
) -> None:
    """Whatever is wrong: the address, the method, or who asks."""
    app = make_app(viewer, Access(hosts=frozenset({HOST}), token=TOKEN))
    program = TestClient(app, base_url=f"http://{HOST}")
    answered = program.request(method, path, headers={"authorization": f"Bearer {TOKEN}"} | given)
    error = msgspec.json.decode(answered.content, type=Error)

    assert (answered.status_code, error.code, error.exit_code) == (status, "usage", 2)
    assert told in error.message
    assert answered.headers["content-type"].startswith("application/json")
    assert ("GET" in answered.headers.get("allow", "")) is (status == 405)


def test_a_bug_is_a_document_without_what_it_quotes_for_programs_and_a_page_for_people(
    viewer: Viewer, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(viewer, Access(hosts=frozenset(), token=TOKEN))
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "text/html"}
    visitor = TestClient(app, headers=headers, raise_server_exceptions=False)
    monkeypatch.setattr(Viewer, "look", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(Viewer, "status", lambda *_, **__: {}["the text of a row"])
    for_people, for_program = visitor.get(f"/jobs/{ended}"), visitor.get("/api/jobs/any")

    error = msgspec.json.decode(for_program.content, type=Error)
    assert (for_program.status_code, error.code, error.message) == (500, "unexpected", "KeyError")
    assert for_people.status_code == 500
    assert "This cannot be shown ! The page has a fault of its own." in words(for_people.text)


def test_what_is_not_there_is_a_page_with_the_way_back_for_a_browser(browser: TestClient, ended: str) -> None:
    for path in ("/nothing", f"/jobs/{ended}/spec", "/jobs/none-00000000"):
        page = browser.get(path, headers={"accept": "text/html,*/*"})
        part = browser.get(path, headers={"accept": "text/html,*/*", "hx-request": "true"})

        assert page.status_code == part.status_code == 404
        assert "This is not here" in words(page.text)
        assert "All jobs" in words(page.text)
        assert "<" not in part.text


def test_the_log_reads_what_it_shows_and_goes_on_page_by_page(
    browser: TestClient, viewer: Viewer, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what matters, until all is asked for; a page of it has the number of the entry to go on from."""
    monkeypatch.setattr(web_app, "EVENTS_MAX", 1)
    monkeypatch.setattr(web_app, "EVENTS_PAGE", 2)
    told = viewer.workspace.admin.events(JobId(ended))
    asked = list[int]()
    events = Viewer.events

    def counted(*given: Any, **named: Any) -> Any:
        found = events(*given, **named)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Viewer, "events", counted)
    short = browser.get(f"/jobs/{ended}/log").text
    pages, way = list[str](), "?all=log"
    while way:
        pages.append(browser.get(f"/jobs/{ended}/log{way}").text)
        way = unescape("".join(re.findall(r'href="/jobs/[^"?]*(\?[^"#]*)#log" rel="next"', pages[-1])))

    assert asked[0] == 2, "one more than is shown"
    assert short.count("<li>") == 1
    assert max(asked) == 3
    assert sum(page.count("<li>") for page in pages) == len(told) > 4
    assert "its create is sent" in "".join(pages)
    assert "its create is sent" not in short
    assert browser.get(f"/jobs/{ended}/log?all=log&before=x").status_code == 404
    assert "Nothing earlier." in browser.get(f"/jobs/{ended}/log?all=log&before=1").text


def test_a_longer_list_stays_while_its_page_is_open(browser: TestClient, ended: str) -> None:
    """What is asked for anew is what is shown, and an older page of the log is not asked for anew."""
    page = browser.get(f"/jobs/{ended}?all=log").text
    older = browser.get(f"/jobs/{ended}?all=log&before=999999").text

    assert f'hx-get="/jobs/{ended}/log?all=log"' in page
    assert f'hx-get="/jobs/{ended}/log' not in older
    batches = browser.get(f"/jobs/{ended}?batches=waiting&all=batches").text
    assert f'hx-get="/jobs/{ended}/batches?batches=waiting&amp;all=batches"' in batches


def test_a_page_whose_folder_is_gone_says_so_and_makes_no_new_one(tmp_path: Path) -> None:
    """What it has open would show what was, and an action would begin another ledger."""
    work = tmp_path / "work"
    with opened_workspace(str(work)) as workspace:
        app = make_app(Viewer(workspace), Access(hosts=frozenset(), token=TOKEN), Background(is_shared=False))
        visitor = TestClient(app, headers={"authorization": f"Bearer {TOKEN}"})
        before = visitor.get("/").status_code
        work.rename(tmp_path / "moved")
        gone = [visitor.get(path) for path in ("/", "/jobs/a", "/accounts", "/workers", "/api/jobs", "/metrics")]
        gone.append(visitor.post("/jobs/a/do/cancel", data={}))
        is_made_anew = work.exists()
        shutil.copytree(tmp_path / "moved", work)
        another = visitor.get("/")
        shutil.rmtree(work)
        (tmp_path / "moved").rename(work)
        back = visitor.get("/").status_code

    assert (before, back) == (200, 200)
    for answered in (*gone, another):
        assert answered.status_code == 503, answered.url
        assert f"{work}/ledger.db is not there any more, or is another one" in answered.text
        assert f"orchestrator ui --work {work}" in answered.text
    assert not is_made_anew


def test_a_file_that_cannot_be_read_is_named_with_what_to_type(viewer: Viewer, browser: TestClient, ended: str) -> None:
    parts = sorted((Path(viewer.work) / ended / "parts").iterdir())
    kept = {path: path.read_bytes() for path in parts[:2]}
    requests = {path: path.read_bytes() for path in (Path(viewer.work) / ended / "requests").glob("*.jsonl.zst")}
    try:
        for path in (*kept, *requests):
            path.write_bytes(b"not what it was")
        rows, row = browser.get(f"/jobs/{ended}/rows"), browser.get(f"/jobs/{ended}/rows/0-1")
    finally:
        for path, content in (kept | requests).items():
            path.write_bytes(content)

    assert (rows.status_code, row.status_code) == (503, 503)
    assert f"{parts[0]} cannot be read" in rows.text
    assert "is damaged: it cannot be unpacked" in row.text
    for told in (rows, row):
        assert f"is told by: orchestrator audit {ended} --work {viewer.work}" in told.text
    assert browser.get(f"/jobs/{ended}/rows").status_code == 200
