"""The page in a real browser: it fits any width, runs nothing of a row's, and its buttons work."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Locator, Page, expect

from orchestrator.api.background import Background
from orchestrator.domain.model import JobState
from orchestrator.web.access import Access
from orchestrator.web.app import make_app
from tests.web.browser import SCHEMES, WIDTHS, Visitor, served, some_browser
from tests.web.scenes import Scenes, some_scenes

pytestmark = pytest.mark.slow

TOKEN: Final = "a-token-of-this-test"
TABS_MAX: Final = 20
PAGES_MAX: Final = 60  # kinds of pages of three jobs
# `scrollWidth` of the page is above its width where something stands out to the right.
LOOK: Final = """() => ({
  wide: document.documentElement.scrollWidth - window.innerWidth,
  refused: window.refused, evil: window.evil ?? null,
})"""


@dataclass(frozen=True, slots=True)
class Site:
    """A page with jobs, and who looks at it."""

    scenes: Scenes
    background: Background
    visitor: Visitor
    retried: str  # ended, with a failed row
    undecided: str
    unresolved: str

    def ended(self) -> None:
        """Wait until the page's runs are over."""
        for run in self.background._runs:
            run.thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with some_browser() as browser, some_scenes(tmp_path_factory.mktemp("work")) as scenes:
        retried = scenes.ended("retried").job_id
        undecided = scenes.with_bad_canary("first-rows").job_id
        unresolved = scenes.unresolved("reviews")
        listening = socket.create_server(("127.0.0.1", 0))
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        background = Background(is_shared=False)
        app = make_app(scenes.viewer, Access(hosts=frozenset({host}), token=TOKEN), background)
        with served(app, listening):
            visitor = Visitor(browser, f"http://{host}")
            yield Site(scenes, background, visitor, retried, undecided, unresolved)
        background.stop()


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    """A page of one's own, of which the browser must have nothing to complain."""
    site.visitor.complaints.clear()
    with site.visitor.page(TOKEN) as page:
        yield page
    assert site.visitor.complaints == []


def links(page: Page) -> list[str]:
    """Return the pages that a page links to, without places within one and without files."""
    found = page.eval_on_selector_all("a[href]:not([download])", "all => all.map(one => one.getAttribute('href'))")
    return [urljoin(page.url, href).partition("#")[0] for href in found]


def kind_of(address: str) -> str:
    """Return the address without what tells apart two pages of one kind: rows, squares of a map, values of filters."""
    path, _, query = address.partition("?")
    job, slash, rest = path.partition("/rows/")
    return f"{job}{slash}{'' if not rest else 'ROW'}?{sorted(name.partition('=')[0] for name in query.split('&'))}"


def press_on(page: Page, wanted: Locator) -> None:
    """Go to something with the Tab key alone, and press Enter on it."""
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        if wanted.evaluate("one => one === document.activeElement"):
            break
    expect(wanted).to_be_focused()
    page.keyboard.press("Enter")


def test_every_page_fits_every_width_in_both_schemes_and_runs_nothing_of_a_row(site: Site, page: Page) -> None:
    """Also those that only others link to: the way to each is found from the list of jobs."""
    mine = (site.retried, site.undecided, site.unresolved)
    seen, kinds, waiting = set[str](), set[str](), [f"{site.visitor.address}/"]
    while waiting:
        address = waiting.pop(0)
        if kind_of(address) in kinds or ("/jobs/" in address and not any(job in address for job in mine)):
            continue
        kinds.add(kind_of(address))
        seen.add(address)
        assert len(seen) < PAGES_MAX, seen
        page.goto(address)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 800})

                assert page.evaluate(LOOK) == {"wide": 0, "refused": [], "evil": None}, (address, width, scheme)
        waiting += links(page)

    names = {address.removeprefix(site.visitor.address) for address in seen}
    job = f"/jobs/{site.retried}"
    assert {"/", "/accounts", "/workers", job, f"{job}/do/retry"} <= names
    assert f"/jobs/{site.undecided}/do/approve" in names
    assert f"/jobs/{site.unresolved}/do/resolve" in names


def test_the_ways_into_a_job_and_a_refused_field_fit_a_phone(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{site.visitor.address}/jobs/{site.retried}")
    ways = page.locator(".ways")
    fits = ways.evaluate("one => one.scrollWidth <= one.clientWidth && one.clientHeight < 40")
    page.goto(f"{site.visitor.address}/jobs/{site.retried}/do/retry")
    page.fill("#max_tokens", "1e999")
    page.get_by_role("button", name="Send again").click()

    expect(page.locator("#flaw")).to_contain_text("Nothing was done.")
    assert fits
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") == 0
    site.visitor.complaints.clear()  # of the 422


def test_what_is_as_it_was_is_left_alone(site: Site, page: Page) -> None:
    """What a person has selected, or where the focus is, stays: nothing is swapped in."""
    page.goto(f"{site.visitor.address}/jobs/{site.retried}")
    with page.expect_response(lambda answer: answer.url.endswith("/head")) as first:
        pass
    page.wait_for_function("document.querySelector('[hx-get$=head]').dataset.etag")
    page.evaluate("document.querySelector('.hero').dataset.mine = 'yes'")
    with page.expect_response(lambda answer: answer.url.endswith("/head")) as second:
        pass

    assert (first.value.status, second.value.status) == (200, 204)
    expect(page.locator(".hero[data-mine=yes]")).to_have_count(1)


def test_the_numbers_on_the_page_are_those_of_the_ledger(site: Site, page: Page) -> None:
    for job_id in (site.retried, site.undecided, site.unresolved):
        page.goto(f"{site.visitor.address}/jobs/{job_id}")
        *places, total = (int(text.replace(",", "")) for text in page.locator(".sum dd").all_inner_texts())
        parts = page.eval_on_selector_all(".hero + .bar i", "all => all.map(one => Number(one.style.flexGrow))")
        rows = site.scenes.viewer.workspace.look(job_id).rows  # type: ignore[arg-type]

        in_ledger = [
            rows.answered,
            rows.at_provider,
            rows.to_send_again,
            rows.waiting,
            rows.failed,
            rows.needs_decision,
        ]
        assert places == in_ledger
        assert sum(places) == sum(parts) == total == rows.total


def test_what_a_row_or_a_provider_says_is_seen_as_text(site: Site, page: Page) -> None:
    page.goto(f"{site.visitor.address}/jobs/{site.undecided}/do/approve")

    expect(page.locator("td.text").first).to_contain_text("<script>window.evil = 1</script>")
    assert page.evaluate("window.evil ?? null") is None


def test_all_of_a_decision_is_made_with_the_keyboard(site: Site, page: Page) -> None:
    handle = site.scenes.submitted("by-keyboard")
    page.goto(f"{site.visitor.address}/jobs/{handle.job_id}")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    press_on(page, page.get_by_role("link", name="Cancel…"))
    expect(page.get_by_role("heading", name="Cancel it?")).to_be_visible()
    press_on(page, page.get_by_role("button", name="Cancel the job"))

    page.wait_for_url(re.compile(r"\?done=cancel$"))
    site.ended()
    assert handle.status().state is JobState.CANCELLED


def test_a_double_click_sends_rows_again_once(site: Site, page: Page) -> None:
    handle = site.scenes.ended("twice")
    before = len(site.scenes.fake.requests)
    page.goto(f"{site.visitor.address}/jobs/{handle.job_id}")
    page.get_by_role("link", name="Send truncated answers again…").click()
    page.get_by_label("max_tokens").fill("100")
    page.get_by_role("button", name="Send again").dblclick()
    page.wait_for_url(re.compile(r"\?done=retry$"))
    expect(page.get_by_text("The rows are sent again.")).to_be_visible()
    site.ended()

    assert len(site.scenes.fake.requests) == before + 1
    assert handle.results().flaws["truncated"] == 0
    assert handle.status().look.revision == 2


def test_without_javascript_everything_works(site: Site) -> None:
    handle = site.scenes.submitted("plain")
    site.visitor.complaints.clear()
    with site.visitor.page(TOKEN, java_script_enabled=False) as page:
        page.goto(f"{site.visitor.address}/jobs/{handle.job_id}")
        page.get_by_role("link", name="Go on…").click()
        page.get_by_role("button", name="Go on").click()
        page.wait_for_url(re.compile(r"\?done=run$"))
    site.ended()

    assert handle.status().state is JobState.FINISHED
    assert site.visitor.complaints == []


def test_what_happens_elsewhere_appears_while_the_page_is_open(site: Site, page: Page) -> None:
    handle = site.scenes.submitted("watched")
    page.goto(f"{site.visitor.address}/jobs/{handle.job_id}")
    expect(page.locator(".about .st")).to_contain_text("unattended")
    handle.cancel()

    expect(page.locator(".about .st")).to_contain_text("cancelled", timeout=20_000)


@pytest.mark.parametrize("status", [503, 200])
def test_a_page_that_gets_errors_for_answers_is_not_live(site: Site, status: int) -> None:
    with site.visitor.page(TOKEN) as page:  # its own: the browser complains of each 503
        page.clock.install()
        page.goto(f"{site.visitor.address}/jobs/{site.unresolved}")
        page.route("**/jobs/**", lambda route: route.fulfill(status=status, body="<p>the ledger is gone</p>"))
        page.clock.run_for(20_000)

        if status == 200:
            expect(page.locator(".live")).not_to_have_class(re.compile("stale"))
        else:
            expect(page.locator(".live")).to_have_class(re.compile("stale"))


def test_a_refusal_is_a_page_with_the_way_back(site: Site, page: Page) -> None:
    page.goto(f"{site.visitor.address}/jobs/{site.retried}/do/cancel")
    expect(page.get_by_role("alert")).to_contain_text("there is nothing to cancel")
    page.get_by_role("link", name="Back to the job").click()

    expect(page.get_by_role("heading", name=site.retried)).to_be_visible()


def test_the_keys_move_on_the_map_and_what_a_square_holds_stands_beside_it(site: Site, page: Page) -> None:
    """It is one tab stop; a square that is chosen stays so when the page asks for the map anew."""
    page.goto(f"{site.visitor.address}/jobs/{site.unresolved}")
    squares = page.locator("[data-map]").first.locator("a")
    expect(squares).to_have_count(3)
    assert page.locator("[data-map]").first.locator("a:not([tabindex='-1'])").count() == 1
    squares.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")

    expect(squares.nth(2)).to_be_focused()
    expect(page.locator("[data-side]")).to_contain_text("c00000-00002")
    page.keyboard.press("Home")
    expect(squares.first).to_be_focused()
    expect(page.locator("[data-side]")).to_contain_text("c00000-00000")
    assert page.locator("[data-map]").first.locator("a:not([tabindex='-1'])").count() == 1


def test_rows_are_found_and_one_is_looked_at(site: Site, page: Page) -> None:
    page.goto(f"{site.visitor.address}/jobs/{site.retried}")
    expect(page.locator("#failures .say").first).to_be_visible()
    page.locator("#failures").get_by_role("link", name="an example").first.click()
    expect(page.get_by_role("heading", name="Tries")).to_be_visible()
    page.get_by_role("link", name="rows", exact=True).click()
    page.get_by_role("searchbox").fill("script")
    page.get_by_role("button", name="Find").click()

    expect(page.get_by_role("searchbox")).to_have_value("script")
    expect(page.locator("table.rows tbody tr")).to_have_count(2)  # one has it in its error
    expect(page.locator("mark").first).to_have_text("script")
