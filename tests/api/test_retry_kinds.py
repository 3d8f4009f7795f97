"""`retry(rows=…)`: answers that are not whole are sent again, and stand where nothing better comes back."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import Result
from orchestrator.testing import Failure, FakeProvider, fake_provider
from tests.sums import sums
from tests.tiers import sampled

FRAME: Final = pd.DataFrame({"text": [f"row {number}" for number in range(6)]})
BAD: Final = Failure(status=400, code="bad", message="no")
# What each try of a row gets; the last one for good. Rows 1 to 3 come back empty, row 4 fails.
SCRIPT: Final[dict[str, list[str | Failure]]] = {
    "row 1": ["", "good"],
    "row 2": ["", BAD, "good at last"],
    "row 3": ["", ""],
    "row 4": [BAD],
}


class Scripted:
    """Answers each row with the next line of its script."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()

    def __call__(self, body: dict[str, Any]) -> str | Failure:
        row = body["messages"][-1]["content"]
        script = SCRIPT.get(row, ["fine"])
        self.tries[row] += 1
        return script[min(self.tries[row], len(script)) - 1]


def ran(fake: FakeProvider, work: Path) -> Result:
    return orchestrator.run(FRAME, prompt="{text}", model="any", work=work, **fake.options)


def seen(result: Result) -> list[tuple[str | None, str | None, int]]:
    table = result.to_arrow().select(["llm_response", "llm_error_code", "llm_attempts"])
    return [tuple(row.values()) for row in table.to_pylist()]  # type: ignore[misc]


def is_sound(result: Result, work: Path) -> bool:
    """Whether ledger, files and output agree to the last row, and nothing was paid for nothing but failures."""
    found = orchestrator.audit(result.job_id, work=work, deep=True)
    assert not found.differences, found.differences
    rows = result.counts
    assert len(result.rows("failed")) == rows["failed"]
    assert {kind: len(result.rows(kind)) for kind in result.flaws} == result.flaws
    return rows["rows"] == rows["succeeded"] + rows["failed"]


FIRST: Final = [("fine", None, 1), *[("", "empty", 1)] * 3, (None, "bad", 1), ("fine", None, 1)]
SECOND: Final = [("fine", None, 1), ("good", None, 2), ("", "empty", 1), ("", "empty", 2), FIRST[4], FIRST[5]]
THIRD: Final = [*SECOND[:2], ("good at last", None, 3), ("", "empty", 3), *SECOND[4:]]
FOURTH: Final = [*THIRD[:3], ("", "empty", 4), *THIRD[4:]]


@pytest.mark.slow
def test_empty_answers_are_sent_again_and_stand_where_the_row_fails(tmp_path: Path) -> None:
    """Exactly those rows are sent; a new answer takes the place of the old one, a failure does not."""
    with fake_provider(script := Scripted()) as fake:
        first = ran(fake, tmp_path)
        assert (seen(first), first.flaws["empty"], is_sound(first, tmp_path)) == (FIRST, 3, True)
        handle = orchestrator.open_job(first.job_id, work=tmp_path)

        second = handle.retry(rows="empty")
        assert script.tries == {"row 0": 1, "row 1": 2, "row 2": 2, "row 3": 2, "row 4": 1, "row 5": 1}
        assert (seen(second), is_sound(second, tmp_path)) == (SECOND, True)
        assert (second.counts["succeeded"], second.counts["failed"], second.flaws["empty"]) == (5, 1, 2)

        third = handle.retry(rows="empty")
        assert (seen(third), is_sound(third, tmp_path), third.flaws["empty"]) == (THIRD, True, 1)
        assert script.tries["row 1"] == 2

        assert seen(handle.retry(rows="refused")) == THIRD
        assert seen(handle.retry())[4] == (None, "bad", 2)  # failed rows alone, as ever
        assert sum(script.tries.values()) == 6 + 3 + 2 + 1
        assert is_sound(handle.results(), tmp_path)
    assert seen(first) == FIRST


@pytest.mark.parametrize("retried", sampled((0, 1, 2), quick=()))
def test_a_restored_ledger_counts_answers_that_were_sent_again_as_before(tmp_path: Path, retried: int) -> None:
    with fake_provider(Scripted()) as fake:
        result = ran(fake, tmp_path)
        handle = orchestrator.open_job(result.job_id, work=tmp_path)
        for _ in range(retried):
            result = handle.retry(rows="empty")
        before = sums(handle.status().as_dict())
        for path in tmp_path.glob("ledger.db*"):
            path.unlink()
        orchestrator.recover(work=tmp_path)

        assert sums(handle.status().as_dict()) == before
        assert is_sound(handle.results(), tmp_path)
        assert seen(handle.retry(rows="empty")) == [SECOND, THIRD, FOURTH][retried]


@pytest.mark.slow
def test_a_retry_that_is_interrupted_and_loses_its_ledger_sends_each_row_once(tmp_path: Path) -> None:
    """The command is on record before anything is sent: what it was about is not forgotten, nor done twice."""
    with fake_provider(script := Scripted()) as fake:
        handle = orchestrator.open_job(ran(fake, tmp_path).job_id, work=tmp_path)
        stop = threading.Event()
        stop.set()
        with pytest.raises(orchestrator.JobInterrupted):
            handle.retry(rows="empty", stop=stop)
        for path in tmp_path.glob("ledger.db*"):
            path.unlink()
        orchestrator.recover(work=tmp_path)
        result = handle.run()

        assert (seen(result), is_sound(result, tmp_path)) == (SECOND, True)
        assert sum(script.tries.values()) == 6 + 3
        assert result.path.endswith("output-revision-2")


@pytest.mark.slow
def test_a_cancelled_retry_leaves_the_answers_as_they_were(tmp_path: Path) -> None:
    with fake_provider(script := Scripted()) as fake:
        handle = orchestrator.open_job(ran(fake, tmp_path).job_id, work=tmp_path)
        stop = threading.Event()
        stop.set()
        with pytest.raises(orchestrator.JobInterrupted):
            handle.retry(rows="empty", stop=stop)
        handle.cancel()
        result = handle.results()

        assert (seen(result), is_sound(result, tmp_path)) == (FIRST, True)
        assert (result.flaws["empty"], sum(script.tries.values())) == (3, 6)


def test_a_kind_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with fake_provider(lambda _body: "good") as fake:
        handle = orchestrator.open_job(ran(fake, tmp_path).job_id, work=tmp_path)
    with pytest.raises(
        orchestrator.ConfigError, match="give one of succeeded, failed, refused, truncated, empty, invalid"
    ):
        handle.retry(rows="bad")
