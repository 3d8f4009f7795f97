"""The page: who may see it, and that it says what the ledger says, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final, cast

import msgspec
import pandas as pd
import pytest
from starlette.testclient import TestClient

import orchestrator
from orchestrator.api.documents.status import Jobs, JobStatus
from orchestrator.api.documents.upkeep import Error
from orchestrator.api.viewer import Viewer
from orchestrator.domain.changes import ShardMoved
from orchestrator.domain.look import Activity, Look
from orchestrator.domain.model import ChunkState, JobId, ShardState, Step
from orchestrator.domain.queues import Queue
from orchestrator.domain.workers import Doing, Kind
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import Failure, fake_provider
from orchestrator.web.access import Access
from orchestrator.web.app import make_app
from tests.builders import a_chunk, a_job, a_shard, after
from tests.cli.looks import FINISHED, LOOK, RUNS, STOPPING
from tests.contract.ledger_harness import LedgerHarness

TOKEN: Final = "a-token-of-this-test"
HOST: Final = "127.0.0.1:8484"
EVIL: Final = "<script>alert(1)</script>\x1b[31m"
LIVE: Final = JobId("reviews-3f2a91c4")


def answer(body: dict[str, object]) -> str | Failure:
    return Failure(code="content_filter", message="no") if "bad" in str(body["messages"]) else "yes"


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A work folder with one job that has ended, and one that is under way and needs a person."""
    work = tmp_path_factory.mktemp("work")
    with fake_provider(answer) as fake:
        frame = pd.DataFrame({"text": ["fine", "bad", "so so"]})
        orchestrator.run(frame, prompt="{text}", model="any", name="mood", work=work, **fake.options)
    with opened_workspace(str(work)) as workspace:
        ledger = LedgerHarness(workspace.database)
        spec = next(job.spec for job in workspace.admin.jobs())
        ledger.open(replace(a_job(LIVE, spec=spec), name="reviews"))
        for name, state, sent, word in (
            ("c00000-00000", ChunkState.SUBMITTED, 1, "in_progress"),
            ("c00000-00001", ChunkState.UNRESOLVED, 2, ""),
            ("c00000-00002", ChunkState.PLANNED, None, ""),
        ):
            sent_at = None if sent is None else after(sent)
            chunk = a_chunk(name, state=state, job_id=LIVE, sent_at=sent_at, provider_status=word, error=EVIL)
            ledger.add(replace(chunk, done_count=4))
        planned = replace(a_shard(job_id=LIVE), state=ShardState.PLANNED, row_count=30)
        ledger.write(ShardMoved(before=a_shard(job_id=LIVE), after=planned, due_at=None), job_id=LIVE)
        yield Viewer(workspace)


@pytest.fixture
def stranger(viewer: Viewer) -> TestClient:
    app = make_app(viewer, Access(hosts=frozenset({HOST}), token=TOKEN))
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture
def browser(stranger: TestClient) -> TestClient:
    """One that has opened the address with the token."""
    assert stranger.get("/", params={"token": TOKEN}).status_code == 303
    return stranger


def test_a_part_that_the_browser_has_is_not_sent_again(browser: TestClient, viewer: Viewer) -> None:
    """Whether or not the look that it was made of is the same one; a job that has changed is another page."""
    parts = [f"/jobs/{LIVE}/{name}" for name in ("head", "batches?batches=need", "log", "map", "charts", "failures")]
    for path in (*parts, "/", "/accounts"):
        first = browser.get(path, headers={"hx-request": "true"})
        known = {"hx-request": "true", "if-none-match": first.headers["etag"]}
        same = browser.get(path, headers=known)
        viewer.forget(LIVE)
        anew = browser.get(path, headers=known)
        other = browser.get(path, headers=known | {"if-none-match": '"x.y"'})

        assert [one.status_code for one in (first, same, anew, other)] == [200, 204, 204, 200], path
        assert (same.content, anew.content, other.content) == (b"", b"", first.content)
    before = browser.get(f"/jobs/{LIVE}/log")
    viewer.workspace.admin.pause(LIVE, now=viewer.now())
    viewer.forget(LIVE)
    after = browser.get(f"/jobs/{LIVE}/log", headers={"if-none-match": before.headers["etag"]})
    viewer.workspace.admin.end_pause(LIVE, now=viewer.now())
    viewer.forget(LIVE)

    assert (after.status_code, before.text == after.text) == (200, False)


def test_a_null_character_is_refused(browser: TestClient) -> None:
    """No database takes one in a text."""
    assert browser.get(f"/jobs/{LIVE}/rows?text=%00").status_code == 400
    assert browser.get("/jobs/%00").status_code == 400


def words(page: str) -> str:
    """Return a page's text without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.parametrize("path", ["/", f"/jobs/{LIVE}", f"/jobs/{LIVE}/log", "/api/jobs", "/static/page.css"])
def test_without_the_token_nothing_is_shown(stranger: TestClient, path: str) -> None:
    for given in ({}, {"token": "wrong"}, {"token": ""}):
        answered = stranger.get(path, params=given)

        assert answered.status_code == 401
        assert "mood" not in answered.text


def test_the_token_is_exchanged_for_a_cookie_that_only_this_page_gets(stranger: TestClient) -> None:
    answered = stranger.get("/", params={"token": TOKEN, "batches": "need"})

    assert answered.headers["location"] == "/?batches=need"
    cookie = answered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get("/").status_code == 200


def test_a_browser_keeps_the_pages_of_two_folders_apart(viewer: Viewer) -> None:
    """They differ in their ports, by which browsers tell no cookies apart."""
    cookies = dict[str, str]()
    visitors = []
    for port in (8484, 8485):
        host = f"127.0.0.1:{port}"
        app = make_app(viewer, Access(hosts=frozenset({host}), token=f"{TOKEN}-{port}"))
        visitors.append(TestClient(app, base_url=f"http://{host}", follow_redirects=False))
        cookies |= dict(visitors[-1].get("/", params={"token": f"{TOKEN}-{port}"}).cookies)

    for visitor in visitors:
        visitor.cookies.clear()
        kept = "; ".join(f"{name}={value}" for name, value in cookies.items())
        assert visitor.get("/", headers={"cookie": kept}).status_code == 200


def test_the_token_leads_to_no_other_host(stranger: TestClient) -> None:
    answered = stranger.get(f"http://{HOST}//evil.example", params={"token": TOKEN})

    assert answered.headers["location"] == "/evil.example"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8484", "127.0.0.1", ""])
def test_a_name_that_another_site_points_here_is_refused(browser: TestClient, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 421


def test_the_browser_is_told_to_load_and_run_nothing_else(browser: TestClient) -> None:
    headers = browser.get("/").headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    for path in ("/", f"/jobs/{LIVE}"):
        page = browser.get(path).text
        assert not re.search(r"<script(?![^>]* src=\"/static/)", page)
        assert not re.search(r"(?:src|href)=\"(?!/|#|\?)", page)
        assert not re.search(r" on\w+=", page)


def test_jobs_that_need_a_person_come_first(browser: TestClient) -> None:
    page = words(browser.get("/").text)
    strip, _, page = page.partition("Job Rows Answered")

    assert "1 batch needs your decision: 10 rows reviews -3f2a91c4" in strip
    assert page.index("Unattended 1") < page.index("reviews -3f2a91c4") < page.index("Ended 1") < page.index("mood -")
    assert "2 of 3 1" in page


def test_a_job_s_numbers_add_up_on_its_page(browser: TestClient) -> None:
    page = browser.get(f"/jobs/{LIVE}").text

    [sums] = re.findall(r'<dl class="sum">(.*?)</dl>', page, re.DOTALL)
    *places, total = (int(found.replace(",", "")) for found in re.findall(r"<dd>([\d,]+)</dd>", sums))
    assert sum(places) == total == 30
    parts = re.findall(r'<i class="(\w+)" style="flex-grow:(\d+)">', page.partition('<dl class="sum">')[0])
    assert sum(int(rows) for _, rows in parts) == total


def test_a_batch_that_needs_a_person_is_said_with_what_to_type(browser: TestClient) -> None:
    page = words(browser.get(f"/jobs/{LIVE}").text)

    assert "1 batch needs your decision: 10 rows" in page
    assert f"orchestrator resolve {LIVE}" in page
    assert "in_progress" in page
    assert "needs you 1 batch 10" in page
    assert "Nothing works on it" not in page  # its decision comes first
    assert "waiting 1 batch 10" in page


def test_what_a_provider_said_is_text_without_control_characters(browser: TestClient) -> None:
    pages = [browser.get(f"/jobs/{LIVE}{rest}").text for rest in ("", "?batches=need", "/log", "/batches", "/head")]

    assert any("&lt;script&gt;alert(1)" in page for page in pages)
    assert not any("<script>alert" in page or "\x1b" in page for page in pages)


def test_accounts_are_shown_as_the_ledger_knows_them(browser: TestClient, viewer: Viewer) -> None:
    account = next(one for one in viewer.accounts() if one.jobs)
    page = words(browser.get("/accounts").text)

    assert "Need you ! 1 batch needs your decision: 10 rows reviews" in page
    assert f"{' '.join(account.name.split('/'))} ● open" in page
    assert "batches in flight policy.batches_in_flight_max 2 20" in page
    assert "reviews -3f2a91c4 1 of them may not exist: needs you 2 1" in page
    assert "<html" not in browser.get("/accounts", headers={"hx-request": "true"}).text


def test_processes_are_shown_with_what_they_work_on(browser: TestClient, viewer: Viewer) -> None:
    assert "Nothing works on the jobs of this folder" in words(browser.get("/workers").text)
    workspace = viewer.workspace
    mine = workspace.register(Kind.RUN, "lab-7", job_id=LIVE)
    [registered] = viewer.workers()
    begun = workspace.clock.now() - timedelta(minutes=2)
    doing = [Doing(step=Step.COLLECT, job_id=LIVE, unit="c00000-00007", since=begun)]
    workspace.workers.seen(mine, workspace.clock.now(), doing=doing, memory_bytes=312_400_000)
    fleet = workspace.register(Kind.WORKER, "lab-8", queues=(Queue.TRANSFER,))
    long_ago = workspace.clock.now() - timedelta(hours=3)
    workspace.workers.seen(fleet, now=long_ago)
    page = words(browser.get("/workers").text)
    for one in (mine, fleet):
        workspace.workers.leave(one)

    assert registered.memory_bytes is not None
    assert registered.memory_bytes > 10_000_000
    assert re.search(
        rf"● lab-7 pid \d+ · [\d.]+ runs one job {LIVE} fetches c00000-00007, 2:0\d 312 MB 0:0\d 0:0\d ago", page
    )
    assert re.search(r"– lab-8 pid \d+ · [\d.]+ worker of a fleet, gone sends 3 h 00 ago", page)  # noqa: RUF001
    assert "Due and not taken yet" in page


def test_failures_are_listed_by_cause(browser: TestClient, viewer: Viewer) -> None:
    [mood] = [one.job_id for one in viewer.jobs() if one.name == "mood"]
    page = words(browser.get(f"/jobs/{mood}").text)

    assert "refused the answer content_filter Its row · an example" in page
    assert "66.6 % 2 of 3 rows are answered" in page


def test_a_part_is_asked_for_anew_without_the_rest(browser: TestClient) -> None:
    part = browser.get("/", headers={"hx-request": "true"}).text

    assert "<html" not in part
    assert "reviews" in part
    assert "<html" not in browser.get(f"/jobs/{LIVE}/batches?batches=waiting").text
    assert "c00000-00002" in browser.get(f"/jobs/{LIVE}/batches?batches=waiting").text


@pytest.mark.parametrize("path", ["/jobs/none-00000000", "/jobs/none-00000000/log", f"/jobs/{LIVE}/spec", "/nothing"])
def test_what_is_not_there_is_404(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_programs_get_the_documents_of_the_command_line(browser: TestClient, viewer: Viewer) -> None:
    """The same kinds, with the same versions; what is not there is a document, too."""
    status, jobs = browser.get(f"/api/jobs/{LIVE}"), browser.get("/api/jobs")
    missing = browser.get("/api/jobs/none-00000000")
    of_command = viewer.handle(LIVE).status().as_dict()

    assert status.json() | {"at": None} == of_command | {"at": None}
    assert msgspec.json.decode(status.content, type=JobStatus).rows.needs_decision == 10
    assert {one.job.id for one in msgspec.json.decode(jobs.content, type=Jobs).jobs} >= {LIVE}
    assert (missing.status_code, msgspec.json.decode(missing.content, type=Error).code) == (404, "job_unknown")
    assert TOKEN not in status.text + jobs.text


def test_jobs_are_metrics_for_who_has_the_token(stranger: TestClient) -> None:
    assert stranger.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    answered = stranger.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})

    assert answered.headers["content-type"].startswith("text/plain; version=")
    lines = answered.text.splitlines()
    assert 'orchestrator_jobs{activity="unattended"} 1.0' in lines
    assert 'orchestrator_jobs{activity="running"} 0.0' in lines
    assert f'orchestrator_rows{{job_id="{LIVE}",place="needs_decision"}} 10.0' in lines
    assert f'orchestrator_batches{{group="waiting",job_id="{LIVE}"}} 1.0' in lines
    assert not any("mood-" in line for line in lines), "a job that has ended"
    assert "<" not in answered.text


def test_a_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(Access(hosts=frozenset(), token=TOKEN))


def test_static_files_are_in_the_package() -> None:
    here = Path(orchestrator.__file__).parent / "web"
    assert {path.name for path in (here / "static").iterdir()} == {
        "htmx.min.js",
        "icon.svg",
        "map.js",
        "page.css",
        "page.js",
        "reading.css",
    }


class OneLook:
    """A work folder with one job, which stands as the look says."""

    work = "/my/work"
    is_local = True

    def __init__(self, look: Look) -> None:
        self.shown = look

    def look(self, _job_id: JobId) -> Look:
        return self.shown

    def command(self, *words: str) -> str:
        return " ".join(("orchestrator", *words))

    def batches(self, *_: object) -> list[object]:
        return []

    events = batches


def head_of(look: Look) -> str:
    """Return the part of a job's page that says how it stands."""
    app = make_app(cast("Viewer", OneLook(look)), Access(hosts=frozenset({HOST}), token=TOKEN))
    drawn = TestClient(app, base_url=f"http://{HOST}").get(
        f"/jobs/{look.job_id}/head", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert drawn.status_code == 200
    return words(drawn.text)


def test_a_job_that_nothing_works_on_is_said_with_what_to_type() -> None:
    unattended = replace(FINISHED, activity=Activity.UNATTENDED)

    assert f"Nothing works on it; to go on: orchestrator run {FINISHED.job_id}" in head_of(unattended)
    assert "Nothing works on it" not in head_of(FINISHED)


def test_a_process_that_stops_is_said_with_what_it_still_does_and_what_to_type() -> None:
    told = "pid 4711 on lab-7 is stopping: it begins nothing more. It still sends c00004-00007, 0:04."

    assert told in head_of(STOPPING)
    assert "Nobody else works on it. Rows at the provider go on there." in head_of(STOPPING)
    assert f"To fetch what is done, and go on: orchestrator run {STOPPING.job_id}" in head_of(STOPPING)
    beside_another = replace(STOPPING, activity=Activity.RUNNING, worked_by=(*STOPPING.worked_by, RUNS))
    assert told in head_of(beside_another)
    assert "Nobody else works on it" not in head_of(beside_another)


def test_unresolved_batches_alone_are_no_troubles_with_an_empty_list() -> None:
    unresolved = tuple(one for one in LOOK.troubles if one.is_unresolved)

    assert unresolved
    assert "Troubles" in head_of(LOOK)
    assert "Troubles" not in head_of(replace(LOOK, troubles=unresolved))
