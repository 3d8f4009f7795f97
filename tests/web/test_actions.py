"""What a person has done to a job on the page: each action is said with its price, is ours, and is done once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from itertools import product
from typing import Final

import pytest
from starlette.testclient import TestClient

from orchestrator.api.background import Background
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.look import OnLook
from orchestrator.domain.model import JobId, JobState
from orchestrator.engine.locks import only_process
from orchestrator.testing import KEY_VARIABLE
from orchestrator.web.access import Access
from orchestrator.web.app import make_app
from orchestrator.web.offers import Action
from tests.cli.looks import LOOK, RUNS
from tests.web.scenes import Scenes, some_scenes
from tests.web.test_page import words

TOKEN: Final = "a-token-of-this-test"
HOST: Final = "127.0.0.1:8484"
ACCESS: Final = Access(hosts=frozenset({HOST}), token=TOKEN)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenes]:
    with some_scenes(tmp_path_factory.mktemp("work")) as scenes:
        yield scenes


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    running = Background(is_shared=False)
    yield running
    running.stop()


def client(scenes: Scenes, background: Background | None) -> TestClient:
    app = make_app(scenes.viewer, ACCESS, background)
    found = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    found.get("/", params={"token": TOKEN})
    return found


@pytest.fixture
def browser(scenes: Scenes, background: Background) -> TestClient:
    """One that may act."""
    return client(scenes, background)


def form_of(page: str, *, number: int = 0) -> dict[str, str]:
    """Return what a form of a page sends."""
    form = re.findall(r"<form .*?</form>", page, re.DOTALL)[number]
    return {
        name: unescape(value) for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', form)
    }


def ended(background: Background) -> None:
    """Wait until the page's runs are over."""
    for run in background._runs:
        run.thread.join()


@pytest.mark.slow
def test_a_retry_names_rows_and_price_and_sends_them_once(
    browser: TestClient, scenes: Scenes, background: Background
) -> None:
    handle = scenes.ended("retried")
    address = f"/jobs/{handle.job_id}/do/retry"
    assert "Send failed rows again…" in browser.get(f"/jobs/{handle.job_id}").text
    page = browser.get(address).text
    scenes.is_good.append(True)
    sent_before = len(scenes.fake.requests)
    answered = [browser.post(address, data=form_of(page)) for _ in range(2)]
    ended(background)

    assert "Send 1 failed row again?" in words(page)
    assert "The output becomes revision 2" in page
    assert re.search(r"About 0\.\d+ USD, by what answers of this job have cost", words(page))
    assert f"orchestrator retry {handle.job_id}" in words(page)
    assert [one.headers["location"] for one in answered] == [f"/jobs/{handle.job_id}?done=retry"] * 2
    assert len(scenes.fake.requests) == sent_before + 1
    assert handle.results().counts == {"rows": 4, "succeeded": 4, "failed": 0}
    assert "The rows are sent again." in browser.get(answered[0].headers["location"]).text


@pytest.mark.slow
def test_cut_off_answers_are_sent_again_with_a_larger_limit(
    browser: TestClient, scenes: Scenes, background: Background
) -> None:
    handle = scenes.ended("cut")
    address = f"/jobs/{handle.job_id}/do/retry"
    page = browser.get(address, params={"rows": "truncated"}).text
    wrong = browser.post(address, data=form_of(page) | {"max_tokens": "many"})
    right = browser.post(address, data=form_of(page) | {"max_tokens": "100"})
    ended(background)

    assert "Send 1 truncated answer again?" in words(page)
    assert "They are paid for again." in page
    assert wrong.status_code == 422
    assert right.status_code == 303
    assert scenes.fake.requests[-1]["max_tokens"] == 100
    assert handle.results().flaws["truncated"] == 0
    row = unescape(words(browser.get(f"/jobs/{handle.job_id}/rows/0-3").text))
    assert '"max_tokens": 100' in row.partition("Sent for revision 2, round 2")[2].partition("another request")[0]
    assert '"max_tokens": 4' in row.partition("Revision 1, round 1: another request")[2].partition("Came back")[0]


@pytest.mark.slow
def test_rows_that_failed_for_one_cause_are_sent_again(
    browser: TestClient, scenes: Scenes, background: Background
) -> None:
    handle = scenes.ended("one-cause")
    address = f"/jobs/{handle.job_id}/do/retry"
    assert f'href="{address}?rows=content_filter"' in browser.get(f"/jobs/{handle.job_id}").text
    page = browser.get(address, params={"rows": "content_filter"}).text
    unknown = browser.get(address, params={"rows": "null_skipped"})
    scenes.is_good.append(True)
    answered = browser.post(address, data=form_of(page))
    ended(background)

    assert "Send 1 row again that failed as content_filter?" in words(page)
    assert f"orchestrator retry {handle.job_id} --rows content_filter" in words(page)
    assert "No row of this job has failed for that cause." in unknown.text
    assert answered.status_code == 303
    assert handle.results().counts["failed"] == 0


@pytest.mark.parametrize(
    "text", ["many", "0", "-1", "1e999", "NaN", "٣", "²", "1" + "0" * 30, "9" * 5_000, "\0", "3000000000"]
)
def test_what_is_wrong_is_said_beside_its_field(browser: TestClient, scenes: Scenes, text: str) -> None:
    """And what was written stays there."""
    job = next((one for one in scenes.viewer.jobs() if one.name == "refused" and one.has_ended), None)
    job_id = job.job_id if job else scenes.ended("refused").job_id
    address = f"/jobs/{job_id}/do/retry"
    form = form_of(browser.get(address, params={"rows": "truncated"}).text)
    sent_before = len(scenes.fake.requests)
    answered = browser.post(address, data=form | {"max_tokens": text})
    [field] = re.findall(r'<input id="max_tokens".*?</p>\s*<p[^>]*>.*?</p>', answered.text, re.DOTALL)

    assert answered.status_code == 422
    assert 'aria-invalid="true"' in field
    assert "Give a whole number from 1 to 2,147,483,647, or leave it empty. Nothing was done." in field
    assert text == "\0" or f'value="{text}"' in field
    assert form_of(answered.text)["rows"] == "truncated"
    assert len(scenes.fake.requests) == sent_before


def test_a_canary_is_shown_before_it_is_approved(browser: TestClient, scenes: Scenes) -> None:
    handle = scenes.with_bad_canary("first-rows")
    address = f"/jobs/{handle.job_id}/do/approve"
    page = browser.get(address).text
    answered = browser.post(address, data=form_of(page))

    assert "What came back" in page
    assert "content_filter" in page or "&lt;script&gt;" in page
    assert "<script>window" not in page
    assert answered.headers["location"] == f"/jobs/{handle.job_id}?done=approve"
    assert handle.status().decision == ""
    assert handle.status().state is JobState.RUNNING
    assert browser.post(address, data=form_of(page) | {"once": "another"}).status_code == 409


def test_a_job_goes_on_in_the_page_s_process(browser: TestClient, scenes: Scenes, background: Background) -> None:
    handle = scenes.submitted("idle")
    address = f"/jobs/{handle.job_id}/do/run"
    assert "Go on…" in browser.get(f"/jobs/{handle.job_id}").text
    answered = browser.post(address, data=form_of(browser.get(address).text))
    ended(background)

    assert answered.status_code == 303
    assert handle.status().state is JobState.FINISHED


def test_a_pause_holds_until_it_is_resumed(browser: TestClient, scenes: Scenes) -> None:
    handle = scenes.submitted("held-back")
    address = f"/jobs/{handle.job_id}/do"
    unattended = browser.get(f"/jobs/{handle.job_id}").text
    with scenes.worked_on(handle.job_id):
        job = browser.get(f"/jobs/{handle.job_id}").text
        refused = browser.get(f"{address}/resume")
        paused = browser.post(f"{address}/pause", data=form_of(browser.get(f"{address}/pause").text))
        since = handle.status().look.paused_at
        shown = browser.get(f"/jobs/{handle.job_id}").text
        resumed = browser.post(f"{address}/resume", data=form_of(browser.get(f"{address}/resume").text))

    assert "Pause…" not in unattended
    assert "Pause…" in job
    assert "Resume…" not in job
    assert "This is not possible now The job is not paused" in words(refused.text).replace(" ! ", " ")
    assert since is not None
    assert "Resume…" in shown
    assert "Pause…" not in shown
    assert [one.status_code for one in (paused, resumed)] == [303, 303]
    assert handle.status().look.paused_at is None


def test_a_cancel_names_what_is_kept_and_lost(browser: TestClient, scenes: Scenes, background: Background) -> None:
    handle = scenes.submitted("dropped")
    address = f"/jobs/{handle.job_id}/do/cancel"
    page = browser.get(address).text
    answered = browser.post(address, data=form_of(page))
    ended(background)

    assert "Cancel it?" in page
    assert "Nothing more is sent." in page
    assert answered.status_code == 303
    assert handle.status().state is JobState.CANCELLED
    assert "there is nothing to cancel" in browser.get(address).text


def test_a_create_without_an_answer_is_resolved(browser: TestClient, scenes: Scenes) -> None:
    scenes.submitted("before")
    for number, (name, more, state) in enumerate(
        [("there", {"batch": "batch_17"}, "submitted"), ("absent", {}, "planned")]
    ):
        job_id = scenes.unresolved(name)
        address = f"/jobs/{job_id}/do/resolve"
        page = browser.get(address).text
        form = form_of(page, number=number)
        answered = browser.post(address, data=form | more)

        assert "Did the provider make this batch?" in page
        assert "The rows are sent again, at most" in words(page)
        assert f"orchestrator resolve {job_id}" in words(page)
        assert answered.headers["location"] == f"/jobs/{job_id}?done=resolve"
        assert scenes.viewer.workspace.ledger.chunk(f"{job_id}/c00000-00001").state == state  # type: ignore[arg-type]
        assert browser.post(address, data=form | more).status_code == 303, "a second click"
        assert browser.post(address, data=form | more | {"once": ""}).status_code == 409, "a form of before"


def test_an_id_must_be_given_to_say_that_a_batch_exists(browser: TestClient, scenes: Scenes) -> None:
    scenes.submitted("before")
    job_id = scenes.unresolved("nameless")
    address = f"/jobs/{job_id}/do/resolve"
    answered = browser.post(address, data=form_of(browser.get(address).text) | {"batch": " "})

    assert answered.status_code == 422
    assert "Give the batch&#39;s id, as the provider shows it. Nothing was done." in answered.text
    assert answered.text.count('aria-invalid="true"') == 1


def test_what_no_page_of_ours_sends_changes_nothing(browser: TestClient, scenes: Scenes) -> None:
    handle = scenes.submitted("marked")
    form = {"once": "1", "shown": "", "way": "absent"}
    marks: tuple[dict[str, str], ...] = ({}, {"mark": ""}, {"mark": "wrong"})
    for action, mark in product(Action, marks):
        answered = browser.post(f"/jobs/{handle.job_id}/do/{action}", data=form | mark)

        assert answered.status_code == 403
        assert "not made by this page" in answered.text
    assert handle.status().state is JobState.RUNNING


def test_every_way_to_change_something_asks_for_the_mark(scenes: Scenes, background: Background) -> None:
    """A new POST that forgets it is found here."""
    app = make_app(scenes.viewer, ACCESS, background)
    changing = {getattr(route, "path", "") for route in app.routes if "POST" in (getattr(route, "methods", None) or ())}

    assert changing == {"/jobs/{job}/do/{action}"}


def test_a_page_that_only_looks_has_no_buttons_and_refuses(scenes: Scenes) -> None:
    handle, only_looks = scenes.submitted("looked-at"), client(scenes, None)
    address = f"/jobs/{handle.job_id}/do/cancel"
    refused = [only_looks.get(address), only_looks.post(address, data={"mark": ACCESS.mark, "shown": ""})]

    assert 'class="btn' not in only_looks.get(f"/jobs/{handle.job_id}").text + only_looks.get("/").text
    assert [one.status_code for one in refused] == [403, 403]
    assert all("only looks" in one.text and "orchestrator cancel" in words(one.text) for one in refused)
    assert handle.status().state is JobState.RUNNING


@pytest.mark.slow
def test_what_has_changed_since_the_page_was_made_is_not_done(browser: TestClient, scenes: Scenes) -> None:
    handle = scenes.ended("changed")
    address = f"/jobs/{handle.job_id}/do/retry"
    form = form_of(browser.get(address).text)
    scenes.is_good.append(True)
    handle.retry(rows="truncated", parameters={"max_tokens": 50})  # another person, on the command line
    answered = browser.post(address, data=form)

    assert answered.status_code == 409
    assert "has changed since that page was made" in answered.text


def test_an_error_says_what_to_do(
    browser: TestClient, scenes: Scenes, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = scenes.submitted("keyless")
    address = f"/jobs/{handle.job_id}/do/run"
    form = form_of(browser.get(address).text)
    with monkeypatch.context() as patched:
        patched.delenv(KEY_VARIABLE)
        refused = browser.post(address, data=form)
    again = browser.post(address, data=form)
    ended(background)

    assert refused.status_code == 409
    assert KEY_VARIABLE in refused.text
    assert again.status_code == 303, "what failed may be tried again"


@pytest.mark.slow
def test_where_another_process_runs_the_jobs_a_run_waits_and_a_cancel_is_its_own(
    browser: TestClient, scenes: Scenes, background: Background
) -> None:
    """As on the command line: the one that has the lock carries the cancel out."""
    lock = scenes.viewer.workspace.lock
    assert lock is not None
    handle = scenes.submitted("shared")
    pages = {name: browser.get(f"/jobs/{handle.job_id}/do/{name}").text for name in ("run", "cancel")}
    with only_process(lock):
        answered = {
            name: browser.post(f"/jobs/{handle.job_id}/do/{name}", data=form_of(page)) for name, page in pages.items()
        }
        state = handle.status().state
    handle.cancel()

    assert answered["run"].status_code == 409
    assert "works alone on the ledger" in answered["run"].text
    assert answered["cancel"].status_code == 303
    assert state is JobState.CANCELLING
    ended(background)


@pytest.mark.parametrize("path", ["/jobs/none-00000000/do/cancel", "/jobs/none-00000000/do/eat"])
def test_what_is_not_there_is_404(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404
    assert browser.post(path, data={"mark": ACCESS.mark}).status_code == 404


def test_a_form_that_is_too_large_is_refused(browser: TestClient) -> None:
    assert browser.post("/jobs/x/do/cancel", content=b"a" * 100_000).status_code == 413


class Ended(Exception):
    """What no step expects."""


def fails_at_once(_look: OnLook, _stop: threading.Event) -> None:
    raise ConfigError("no key")


def fails_later(look: OnLook, _stop: threading.Event) -> None:
    look(LOOK)
    raise Ended


def waits(look: OnLook, stop: threading.Event) -> None:
    look(replace(LOOK, worked_by=()))
    assert stop.wait(60)


def follows_what_stops(look: OnLook, stop: threading.Event) -> None:
    look(replace(LOOK, worked_by=(replace(RUNS, is_stopping=True),)))
    assert stop.wait(60)


def test_an_error_before_the_first_step_is_raised_and_a_later_one_is_kept() -> None:
    running, job_id = Background(is_shared=False), JobId("job-1")
    with pytest.raises(ConfigError, match="no key"):
        running.begin(job_id, fails_at_once)
    assert running.failure(job_id) == ""
    running.begin(job_id, fails_later)
    running.stop()

    assert running.failure(job_id) == "Ended"
    assert running.failure(JobId("job-2")) == ""


def test_runs_end_when_the_page_does() -> None:
    running = Background(is_shared=False)
    running.begin(JobId("job-1"), waits)
    running.begin(JobId("job-2"), waits)
    running.stop()

    assert not any(one.thread.is_alive() for one in running._runs)


def test_a_run_that_follows_a_process_that_stops_stays_to_take_over() -> None:
    running = Background(is_shared=False)
    running.begin(JobId("job-1"), follows_what_stops)

    assert running.running() == ["job-1"]
    running.stop()


@pytest.mark.parametrize("shared", [True, False])
def test_nothing_waits_for_what_a_fleet_carries_out(shared: bool) -> None:
    running = Background(is_shared=shared)
    running.begin(JobId("job-1"), waits)
    if shared:
        for one in running._runs:
            one.thread.join(30)

    assert any(one.thread.is_alive() for one in running._runs) is not shared
    running.stop()
