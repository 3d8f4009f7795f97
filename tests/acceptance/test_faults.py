"""Everything a provider was seen to do wrong, one by one and all at once: each row still ends exactly once.

Source of the list: PROVIDERS §7 (what OneRouter's kind of gateway does) and §5 (what users of batch APIs reported).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.datasets import check_bill, check_counts, check_exact
from tests.acceptance.scenes import CHUNK, ROWS, SOURCE, Scene, play
from tests.tiers import sampled

# Faults that do not hide each other are in one scene: each scene is a whole job.
FAULTS: Final[tuple[Scene, ...]] = (
    Scene(
        name="create: 429 with Retry-After, a 200 that says 429",
        plan={
            "create": {"refuse": {"429": 2}, "retry_after_s": 0.5, "error_body": 1, "code_body": 1, "body_code": 429}
        },
    ),
    Scene(
        name="status: not there yet, stale, an unknown word, SUCCESS without a link, counts one too many",
        plan={"status": {"not_found": 2, "stale": 3, "unknown": 2, "empty_result_url": 2, "counts_off_by": 1}},
    ),
    Scene(
        name="status: 429, 502, cut, counts too few",
        plan={"status": {"refuse": {"429": 1, "502": 1}, "lost": 1, "counts_off_by": -7}},
    ),
    Scene(
        name="status: 408, 503, a 200 that says 503",
        plan={"status": {"refuse": {"408": 1, "503": 1}, "retry_after_s": 0.3, "error_body": 1, "code_body": 1}},
    ),
    Scene(
        name="batch: FAILURE, with some results, expired",
        plan={"batch": {"fail": 1, "fail_partial": 1, "expire": 2, "done_share": 0.4}},
    ),
    Scene(name="batch: expired, in lines", plan={"batch": {"expire": 1, "expired_lines": True}}),
    Scene(name="rows: 429 and 500", plan={"rows": {"fail": {"429": 3, "500": 2}}}),
    Scene(name="rows: 500 without a line", plan={"rows": {"fail": {"500": 3}, "no_line": True}}),
    Scene(
        name="rows: 400, filtered",
        plan={"rows": {"filtered": 1, "fail": {"400": 2}, "times": 0}},
        failed={"400": 3, "content_filter": 3},
    ),
    Scene(name="rows: 500 for ever", plan={"rows": {"fail": {"500": 1.0}, "times": 0}}, failed={"500": ROWS}),
    Scene(name="lines: missing, duplicates that differ", plan={"lines": {"missing": 2, "duplicate_differing": 5}}),
    Scene(
        name="lines: null and foreign custom_id",
        plan={"lines": {"null_custom_id": 2, "foreign_custom_id": 2}},
        is_damaged=True,
    ),
    Scene(name="lines: not JSON", plan={"lines": {"not_json": 2}}, is_damaged=True),
    Scene(
        name="lines: not UTF-8, NaN, a huge number, deep nesting",
        plan={"lines": {"invalid_utf8": 2, "nan": 2, "huge_number": 2, "deep_nesting": 2}},
        is_damaged=True,
    ),
    Scene(name="lines: empty content", plan={"lines": {"empty_content": 2}}, empty_count=6),
    Scene(
        name="lines: duplicates, U+2028 inside, blank ones, a BOM, CRLF, in source order",
        plan={"lines": {"duplicate": 5, "line_separator": 6, "blank_line": 7, "bom": 3, "crlf": 3, "in_order": 3}},
    ),
    Scene(
        name="lines: the last one cut, within a character",
        plan={"lines": {"cut_last": 2, "cut_in_character": 2}},
        is_damaged=True,
    ),
    Scene(
        name="download: 403, 404, 502, cut",
        plan={"download": {"refuse": {"403": 1, "404": 1, "502": 1}, "cut": 1}},
    ),
    Scene(name="download: cut, unannounced", plan={"download": {"cut_unannounced": 1, "cut_at": 0.6}}),
    Scene(
        name="download: slow, takes no key",
        plan={"download": {"bytes_per_s": 20_000, "refuse_key": True}},
        foreign_host=True,
    ),
)

# The documents describe two forms of the same GET, and the shape of a line depends on the model behind.
SOME_FAULTS: Final = {"rows": {"fail": {"500": 2}}, "lines": {"not_json": 1, "duplicate": 2}, "download": {"cut": 1}}
FORMS: Final = tuple(
    Scene(name=f"{mode}, {shape}", plan=SOME_FAULTS, flags=("--result-mode", mode, "--line-shape", shape))
    for mode, shape in (("status-object", "anthropic"), ("jsonl-stream", "openai"), ("mixed", "anthropic"))
)

EVERYTHING: Final[Mapping[str, Any]] = {
    "create": {"refuse": {"429": 0.3}, "retry_after_s": 0.2},
    "status": {"not_found": 1, "refuse": {"429": 0.05, "502": 0.05}, "lost": 0.05, "stale": 0.05, "unknown": 0.05},
    "batch": {"fail": 0.15, "fail_partial": 0.15, "expire": 0.15, "done_share": 0.6, "expired_lines": True},
    "rows": {"fail": {"429": 0.1, "500": 0.05, "503": 0.05}},
    "lines": {
        "missing": 0.02,
        "null_custom_id": 0.02,
        "foreign_custom_id": 0.02,
        "not_json": 0.02,
        "invalid_utf8": 0.02,
        "nan": 0.02,
        "huge_number": 0.02,
        "deep_nesting": 0.02,
        "duplicate": 0.05,
        "duplicate_differing": 0.05,
        "line_separator": 0.05,
        "blank_line": 0.05,
        "bom": 0.3,
        "crlf": 0.3,
        "cut_last": 0.2,
        "cut_in_character": 0.1,
    },
    "download": {"refuse": {"403": 0.05, "502": 0.05}, "cut": 0.05, "cut_unannounced": 0.05},
}
# Twelve attempts, so that no row is unlucky for ever.
TOGETHER: Final = tuple(
    Scene(
        name=f"everything, seed {seed}", plan={**EVERYTHING, "seed": seed}, policy={"attempts_max": 12}, is_damaged=True
    )
    for seed in (1, 2)
)

# Whether a batch was made, by hand: `refuse` and the two bodies strike before the effect, the others after it.
AMBIGUOUS: Final = tuple(
    Scene(name=f"create: {name}", plan={"create": create}, was_made=was_made)
    for name, create, was_made in (
        ("answer lost", {"lost": 1}, True),
        ("silence", {"hang": 1, "hang_s": 0.3}, True),
        ("500 after the effect", {"accept_then": {"500": 1}}, True),
        ("409 after the effect", {"accept_then": {"409": 1}}, True),
        ("502 before the effect", {"refuse": {"502": 1}}, False),
        ("a 200 that says 503", {"error_body": 1}, False),
    )
)
QUICK: Final = {
    "create: 429 with Retry-After, a 200 that says 429",
    "lines: not JSON",
    "mixed, anthropic",
}
QUICK_AMBIGUOUS: Final = {"create: answer lost"}


def by_name(scene: Scene) -> str:
    """Return what a case is called."""
    return scene.name


@pytest.fixture(autouse=True)
def right_key(key: str) -> None:
    """The right key, in this process's own environment."""


@pytest.mark.parametrize("scene", sampled([*FAULTS, *FORMS, *TOGETHER], quick=QUICK, name=by_name))
def test_each_row_ends_exactly_once_whatever_the_provider_does(scene: Scene, tmp_path: Path) -> None:
    """Rows in = succeeded + dead, each answer on its own row, and no row paid twice but by the provider's doing."""
    outcome = play(scene, tmp_path)

    check_exact(outcome.output, SOURCE, failed=scene.failed, empty_count=scene.empty_count, is_damaged=scene.is_damaged)
    check_counts(outcome.status)
    check_bill(outcome.bill)


@pytest.mark.parametrize("scene", sampled(AMBIGUOUS, quick=QUICK_AMBIGUOUS, name=by_name))
def test_a_create_that_may_have_happened_is_unresolved_until_a_person_decides(scene: Scene, tmp_path: Path) -> None:
    """Its rows are not sent again, all others are finished, and after `resolve` nothing was paid twice."""
    outcome = play(scene, tmp_path)

    assert "orchestrator resolve" in outcome.said
    assert outcome.done_meanwhile == ROWS - CHUNK
    assert [batch is not None for batch in outcome.resolved.values()] == [scene.was_made]
    check_exact(outcome.output, SOURCE)
    check_counts(outcome.status)
    assert outcome.bill["paid_twice"] == 0
    assert outcome.bill["creates"] == ROWS // CHUNK
