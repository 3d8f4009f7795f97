"""What the page offers for a job in each state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from starlette.testclient import TestClient

from orchestrator.api.viewer import Viewer
from orchestrator.domain.canary import CANARY
from orchestrator.domain.look import Activity
from orchestrator.domain.model import JobState
from orchestrator.domain.progress import Totals
from orchestrator.web.access import Access
from orchestrator.web.app import make_app
from orchestrator.web.needs import WAYS, asks, doors
from orchestrator.web.offers import Action, Offer, offer
from tests.builders import after
from tests.cli.looks import LOOK, a_look, a_status

A: Final = Activity
AT: Final = after(60)
# By hand: what the page offers for a job, beside what it asks. "Go on…" of a job that needs a person stands there.
DOORS: Final[dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    **{one.value: ({"activity": one}, ("Pause…", "Cancel…")) for one in (A.PLANNING, A.RUNNING, A.CANARY, A.BATCHES)},
    "the account": ({"activity": A.ACCOUNT}, ("Pause…", "Cancel…")),
    "budget": ({"activity": A.BUDGET}, ("Pause…", "Cancel…")),
    "paused": ({"activity": A.PAUSED, "paused_at": AT}, ("Resume…", "Cancel…")),
    "unattended": ({"activity": A.UNATTENDED, "worked_by": ()}, ("Go on…", "Cancel…")),
    "stopping": ({"activity": A.STOPPING}, ("Go on…", "Cancel…")),
    "unattended, paused": (
        {"activity": A.UNATTENDED, "worked_by": (), "paused_at": AT},
        ("Go on…", "Resume…", "Cancel…"),
    ),
    "stopped": ({"activity": A.STOPPED, "state": JobState.STOPPED}, ("Cancel…",)),
    "stopped, paused": ({"activity": A.STOPPED, "state": JobState.STOPPED, "paused_at": AT}, ("Resume…", "Cancel…")),
    "needs a decision": ({"activity": A.NEEDS_YOU, "state": JobState.STOPPED, "decision": CANARY}, ("Cancel…",)),
    "needs a key": ({"activity": A.NEEDS_YOU, "chunks": {}}, ("Cancel…",)),
    "writing": ({"activity": A.WRITING}, ()),
    "cancelling": ({"activity": A.CANCELLING, "state": JobState.CANCELLING}, ()),
    "cancelling, unattended": ({"activity": A.UNATTENDED, "state": JobState.CANCELLING}, ("Cancel…",)),
    "cancelled": ({"activity": A.CANCELLED, "state": JobState.CANCELLED}, ("Send failed rows again…",)),
    "finished": ({"activity": A.FINISHED, "state": JobState.FINISHED}, ("Send failed rows again…",)),
    "finished, all answered": (
        {"activity": A.FINISHED, "state": JobState.FINISHED, "rows": replace(LOOK.rows, failed=0)},
        (),
    ),
}


def test_the_table_of_offers_knows_every_state() -> None:
    assert {fields["activity"] for fields, _ in DOORS.values()} == set(Activity)


@pytest.mark.parametrize("case", DOORS)
def test_a_page_offers_what_is_possible_and_refuses_the_rest(case: str, viewer: Viewer) -> None:
    """A job that nobody runs, or that is stopped, sends nothing: there is nothing to pause."""
    fields, labels = DOORS[case]
    look = a_look(**fields)
    status = replace(a_status(look.state, Totals(shards=1, shards_planning=0, rows=4, settled=4, refused=0)), look=look)

    assert tuple(one.label for one in doors(look, viewer)) == labels
    for action, label in WAYS.items():
        asked = {one.action for ask in asks(look, viewer) for one in ask.doors}
        assert isinstance(offer(action, status, viewer), Offer) is (label in labels or action in asked), label


def test_a_job_that_waits_for_a_person_has_begun_and_not_ended(viewer: Viewer) -> None:
    """It is stopped since a moment that the ledger knows; the list of jobs does not call that its end."""
    app = make_app(viewer, Access(hosts=frozenset(), token="t"))
    page = TestClient(app, headers={"authorization": "Bearer t"}).get("/").text
    rows = {one.name: "needs you" in row for one in viewer.jobs() for row in page.split("<tr>") if one.job_id in row}
    told = {word: page.count(f'data-l="{word}"') for word in ("begun", "ended")}

    assert rows["open"]
    assert told == {"begun": 1, "ended": len(viewer.jobs()) - 1}


def test_a_price_that_nobody_knows_is_not_made_up(viewer: Viewer) -> None:
    totals = Totals(shards=1, shards_planning=0, rows=4, settled=4, refused=0, succeeded=3, failed=1, unpriced=3)
    found = offer(Action.RETRY, a_status(JobState.FINISHED, totals), viewer)

    assert isinstance(found, Offer)
    assert found.price == "It is not known what that costs: no price of this model is known."
