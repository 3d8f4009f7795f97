"""What to do about a create whose answer nobody has: the whole decision table, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import IllegalTransition
from orchestrator.domain.model import BatchId, ChunkState
from orchestrator.domain.policy import OnAmbiguous, Policy
from orchestrator.domain.recovery import (
    GUARANTEE,
    OTHER_KEY,
    Absent,
    Adopt,
    Ambiguous,
    Bounds,
    Decision,
    Evidence,
    Fence,
    LookAgain,
    NeedsKey,
    NeedsPerson,
    Recovery,
    Reopen,
    Repeat,
    Wait,
    decide,
    is_other,
    other_key_message,
)
from tests.builders import NOW, a_chunk, after

SETTLE_S: Final = 120.0
LAG_S: Final = 60.0
LATE_S: Final = 3_600.0
KEY_S: Final = 80_000.0
A, B1, B2, C = Recovery.KEYED, Recovery.FENCED, Recovery.SETTLED, Recovery.UNKNOWABLE
RECONCILE, HOLD, RESUBMIT = OnAmbiguous.RECONCILE, OnAmbiguous.HOLD, OnAmbiguous.RESUBMIT
ONE, TWO, THREE = BatchId("batch-1"), BatchId("batch-2"), BatchId("batch-3")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A chunk sent at NOW, looked at `at_s` seconds later."""

    state: str = "ambiguous"
    at_s: float = 1_000.0
    recovery: Recovery = B1
    on_ambiguous: OnAmbiguous = RECONCILE
    journal: BatchId | None = None
    listed: tuple[BatchId, ...] = ()
    fenced_s: float | None = None
    tries: int = 0
    cost: str | None = "0.50"
    possibly_double_paid: str = "0"
    at_most: str = "1.00"
    code: str = ""
    other_key: bool = False

    def decide(self) -> Decision:
        chunk = a_chunk(
            state=self.state,
            sent_at=NOW,
            fenced_at=None if self.fenced_s is None else after(self.fenced_s),
            tries=self.tries,
            error_code=self.code,
            cost_usd_max=None if self.cost is None else Decimal(self.cost),
        )
        evidence = Evidence(
            now=after(self.at_s),
            journal=self.journal,
            listed=self.listed,
            possibly_double_paid_usd=Decimal(self.possibly_double_paid),
            is_other_key=self.other_key,
        )
        policy = Policy(on_ambiguous=self.on_ambiguous, max_duplicate_usd=Decimal(self.at_most))
        bounds = Bounds(settle_s=SETTLE_S, lag_s=LAG_S, late_s=LATE_S, key_s=KEY_S)
        return decide(chunk, evidence, recovery=self.recovery, policy=policy, bounds=bounds)


@pytest.mark.parametrize("state", ["submitting", "ambiguous", "unresolved"])
@pytest.mark.parametrize("recovery", [B1, C])
@pytest.mark.parametrize("on_ambiguous", [RECONCILE, HOLD, RESUBMIT])
@pytest.mark.parametrize("at_s", [0.0, 1_000.0])
def test_an_answer_in_the_journal_settles_it(
    state: str, recovery: Recovery, on_ambiguous: OnAmbiguous, at_s: float
) -> None:
    """Rule 2: it is the provider's own word, above the list, the clock and the policy."""
    case = Case(state=state, recovery=recovery, on_ambiguous=on_ambiguous, at_s=at_s, journal=ONE, listed=(TWO,))

    assert case.decide() == Adopt(ONE)


@pytest.mark.parametrize("recovery", [B1, C])
@pytest.mark.parametrize("on_ambiguous", [RECONCILE, HOLD, RESUBMIT])
@pytest.mark.parametrize(
    ("at_s", "decision"),
    [(0, Wait(after(120))), (119.999, Wait(after(120))), (120, Ambiguous()), (5_000, Ambiguous())],
)
def test_a_create_under_way_is_left_alone_until_its_time_is_up(
    recovery: Recovery, on_ambiguous: OnAmbiguous, at_s: float, decision: Decision
) -> None:
    """Whoever sends may still be sending: not even a batch that is listed is adopted under its feet."""
    case = Case(state="submitting", recovery=recovery, on_ambiguous=on_ambiguous, at_s=at_s, listed=(ONE,))

    assert case.decide() == decision


@pytest.mark.parametrize(
    ("case", "decision"),
    [
        # B1, reconcile: list -> adopt; else fence, wait out the lag, list again; still nothing -> it never was
        (Case(listed=(ONE,)), Adopt(ONE)),
        (Case(listed=(ONE, TWO, THREE)), Adopt(ONE, (TWO, THREE))),
        (Case(listed=(ONE,), fenced_s=10), Adopt(ONE)),
        (Case(), Fence()),
        (Case(fenced_s=900, at_s=900), Wait(after(960))),
        (Case(fenced_s=900, at_s=959.999), Wait(after(960))),
        (Case(fenced_s=900, at_s=960), LookAgain()),  # one look by a clock that somebody may have set
        (Case(fenced_s=900, at_s=5_000), LookAgain()),
        (Case(fenced_s=900, at_s=959.999, tries=1), Wait(after(960))),
        (Case(fenced_s=900, at_s=960, tries=1), Absent()),
        # class A: the same create again, for as long as the provider surely knows it
        (Case(recovery=A), Repeat()),
        (Case(recovery=A, at_s=79_999), Repeat()),
        (Case(recovery=A, at_s=80_000), "hold"),
        (Case(recovery=A, on_ambiguous=RESUBMIT), Repeat()),
        (Case(recovery=A, on_ambiguous=HOLD), "hold"),
        (Case(recovery=A, state="unresolved"), Wait(after(1_120))),
        # class B2: nothing can be fenced, so time must pass, twice
        (Case(recovery=B2, listed=(ONE,)), Adopt(ONE)),
        (Case(recovery=B2, at_s=10), Wait(after(70))),  # it may be listed late: a lag later, then at twice its age
        (Case(recovery=B2, at_s=100), Wait(after(200))),
        (Case(recovery=B2, at_s=3_599), Wait(after(3_600))),
        (Case(recovery=B2, at_s=3_600), LookAgain()),
        (Case(recovery=B2, at_s=7_259, fenced_s=3_600, tries=1), Wait(after(7_260))),
        (Case(recovery=B2, at_s=7_260, fenced_s=3_600, tries=1), Absent()),
        (Case(recovery=B2, at_s=7_260, on_ambiguous=HOLD), "hold"),
        # B1, hold: what is found is adopted, nothing else happens without a person
        (Case(on_ambiguous=HOLD, listed=(ONE,)), Adopt(ONE)),
        (Case(on_ambiguous=HOLD), "hold"),
        (Case(on_ambiguous=HOLD, fenced_s=10), "hold"),
        # C, nothing to ask: hold, however long ago it was
        (Case(recovery=C), "hold"),
        (Case(recovery=C, on_ambiguous=HOLD), "hold"),
        (Case(recovery=C, at_s=10_000_000), "hold"),
        (Case(recovery=C, fenced_s=10), "hold"),
        # resubmit: a wager, up to max_duplicate_usd in all
        (Case(recovery=C, on_ambiguous=RESUBMIT), Absent(abandoned=True)),
        (Case(recovery=C, on_ambiguous=RESUBMIT, possibly_double_paid="0.50"), Absent(abandoned=True)),
        (Case(recovery=C, on_ambiguous=RESUBMIT, possibly_double_paid="0.500000001"), "hold"),
        (Case(recovery=C, on_ambiguous=RESUBMIT, at_most="0"), "hold"),
        (Case(recovery=C, on_ambiguous=RESUBMIT, cost=None), "hold"),
        (Case(on_ambiguous=RESUBMIT, listed=(ONE,)), Adopt(ONE)),
        # held: a person decides; a batch that shows itself after all is adopted
        (Case(state="unresolved"), Wait(after(1_120))),
        (Case(state="unresolved", fenced_s=10), Wait(after(1_120))),
        (Case(state="unresolved", recovery=C, on_ambiguous=RESUBMIT), Absent(abandoned=True)),
        (Case(state="unresolved", recovery=C, on_ambiguous=RESUBMIT, at_most="0"), Wait(after(1_120))),
        # where the provider can be asked, resubmit asks
        (Case(on_ambiguous=RESUBMIT), Fence()),
        (Case(state="unresolved", listed=(ONE, TWO)), Adopt(ONE, (TWO,))),
        # another key: what it finds is ours, what it does not find proves nothing, and nothing is done on its word
        (Case(other_key=True, listed=(ONE, TWO)), Adopt(ONE, (TWO,))),
        (Case(other_key=True, journal=ONE), Adopt(ONE)),
        (Case(other_key=True), NeedsKey()),
        (Case(other_key=True, fenced_s=900, at_s=5_000, tries=1), NeedsKey()),
        (Case(other_key=True, on_ambiguous=HOLD), NeedsKey()),
        (Case(other_key=True, recovery=B2, at_s=20_000, fenced_s=3_600, tries=1), NeedsKey()),
        (Case(other_key=True, recovery=A), NeedsKey()),
        (Case(other_key=True, recovery=A, at_s=80_000), NeedsKey()),
        (Case(other_key=True, state="submitting", at_s=119), Wait(after(120))),
        (Case(other_key=True, state="submitting", at_s=120), Ambiguous()),
        # ... but a wager needs no word of the provider's, and where nothing can be asked the key matters to nobody
        (Case(other_key=True, recovery=C, on_ambiguous=RESUBMIT), Absent(abandoned=True)),
        (Case(other_key=True, recovery=C), "hold"),
        # held for the key's sake: it goes on once the key is back, and not before
        (Case(state="unresolved", code=OTHER_KEY, other_key=True), Wait(after(1_120))),
        (Case(state="unresolved", code=OTHER_KEY, other_key=True, journal=ONE), Wait(after(1_120))),
        (Case(state="unresolved", code=OTHER_KEY, other_key=True, listed=(ONE,)), Adopt(ONE)),
        (Case(state="unresolved", code=OTHER_KEY), Reopen()),
        (Case(state="unresolved", code=OTHER_KEY, recovery=A), Reopen()),
        (Case(state="unresolved", code=OTHER_KEY, journal=ONE), Adopt(ONE)),
    ],
)
def test_a_lost_create_is_decided_so(case: Case, decision: Decision | str) -> None:
    found = case.decide()

    assert isinstance(found, NeedsPerson) if decision == "hold" else found == decision


@given(
    st.builds(
        Case,
        state=st.sampled_from(["submitting", "ambiguous", "unresolved"]),
        at_s=st.floats(0, 10_000),
        recovery=st.sampled_from([B1, C]),
        on_ambiguous=st.sampled_from([RECONCILE, HOLD]),
        listed=st.sampled_from([(), (ONE,)]),
        fenced_s=st.none() | st.floats(0, 10_000),
    )
)
def test_without_an_accepted_duplicate_only_a_fence_and_the_lag_prove_a_create_absent(case: Case) -> None:
    """Rule 1: there is no other way back to PLANNED."""
    if isinstance(case.decide(), Absent):
        assert case.state == "ambiguous"
        assert case.recovery is B1
        assert not case.listed
        assert case.fenced_s is not None
        assert after(case.at_s) >= after(case.fenced_s + LAG_S)


@pytest.mark.parametrize("state", sorted({s.value for s in ChunkState} - {"submitting", "ambiguous", "unresolved"}))
def test_nothing_else_is_to_be_recovered(state: str) -> None:
    with pytest.raises(IllegalTransition):
        Case(state=state).decide()


def test_a_reason_to_hold_names_the_setting_that_would_change_it() -> None:
    found = Case(recovery=C, on_ambiguous=RESUBMIT, at_most="0").decide()

    assert isinstance(found, NeedsPerson)
    assert "max_duplicate_usd" in found.reason


@given(
    st.builds(
        Case,
        state=st.sampled_from(["ambiguous", "unresolved"]),
        at_s=st.floats(0, 100_000),
        recovery=st.sampled_from([A, B1, B2]),
        on_ambiguous=st.sampled_from([RECONCILE, HOLD, RESUBMIT]),
        fenced_s=st.none() | st.floats(0, 10_000),
        tries=st.integers(0, 3),
        code=st.sampled_from(["", OTHER_KEY]),
        other_key=st.just(True),
    )
)
def test_on_another_accounts_word_nothing_is_fenced_repeated_or_given_up(case: Case) -> None:
    """Rule 3, whatever the class, the policy and the time."""
    assert isinstance(case.decide(), NeedsKey | Wait)


@pytest.mark.parametrize(
    ("sent_with", "present", "expected"),
    [("a", "a", False), ("a", "b", True), ("", "b", False), ("a", "", False), ("", "", False)],
)
def test_a_mark_that_is_not_known_tells_nothing(sent_with: str, present: str, expected: bool) -> None:
    assert is_other(sent_with, present) is expected


def test_a_reason_to_wait_for_a_key_names_the_variable_it_belongs_in() -> None:
    assert "OPENAI_API_KEY" in other_key_message("the create was sent", "openai/OPENAI_API_KEY")


def test_every_class_says_what_it_guarantees() -> None:
    assert set(GUARANTEE) == set(Recovery)
