"""The table of outcomes is whole, and its page is up to date."""

from __future__ import annotations

from tests.matrix.dialects import DIALECTS, Kind
from tests.matrix.faults import FAULTS
from tests.matrix.outcomes import PAGE, outcomes, rendered


def test_every_cell_has_an_outcome_and_no_outcome_is_of_no_cell() -> None:
    """Dialects, endpoints and faults: the table has all of them and nothing else."""
    declared = {dialect: {name: set(told) for name, told in table.items()} for dialect, table in outcomes().items()}

    assert declared == {name: {key: set(FAULTS) for key in dialect.endpoints} for name, dialect in DIALECTS.items()}


def test_the_page_says_what_the_table_says() -> None:
    """Stale? `python -m tests.matrix.outcomes` writes docs/faults.md anew."""
    assert PAGE.read_text(encoding="utf-8") == rendered()


def test_no_ambiguous_create_is_followed_by_a_second_one() -> None:
    """Only a certain refusal is planned again; the rest ends unresolved, adopted or proved absent."""
    for dialect, table in outcomes().items():
        for name, told in table.items():
            if DIALECTS[dialect].endpoints[name].kind is Kind.CREATE:
                for fault, outcome in told.items():
                    if outcome.startswith("CreateAmbiguous"):
                        assert outcome.removeprefix("CreateAmbiguous: ") in ENDS[FAULTS[fault].is_read]
                    if "planned again" in outcome and FAULTS[fault].is_read:
                        assert outcome.split(":")[0] in CERTAIN, (dialect, fault, outcome)


ENDS = {
    True: {"ambiguous, unresolved", "ambiguous, adopted", "unresolved, job stopped"},
    False: {"ambiguous, unresolved", "ambiguous, planned again"},
}
CERTAIN = {"RateLimited", "NotAuthorized", "Unavailable"}  # 429, 401 to 403, and what a dialect documents
