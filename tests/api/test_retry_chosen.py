"""`retry` of rows that a person chooses: by condition, by code, by key, several kinds at once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import ConfigError, JobHandle, JobInterrupted, Result
from orchestrator.cli.main import app
from orchestrator.testing import Failure, FakeProvider, fake_provider

BAD: Final = Failure(status=400, code="bad", message="no")
ODD: Final = Failure(status=400, code="odd", message="no")
FRAME: Final = pd.DataFrame({"name": [f"k{row}" for row in range(9)], "score": [row / 10 for row in range(9)]})
# What each try of a row gets; the last one for good. Others are answered "fine".
SCRIPT: Final[dict[str, list[str | Failure]]] = {
    "k0": ["maybe", "yes", "no"],
    "k1": ["maybe", BAD, "late"],
    "k2": ["", "filled"],
    "k3": ["", ""],
    "k4": [BAD, "mended"],
    "k5": [BAD, BAD],
    "k6": [ODD, "odd no more"],
    "k7": ["maybe", ""],
}
OPTIONS: Final[dict[str, Any]] = {"prompt": "{name}", "model": "any", "dataset_options": {"key": "name"}}


@dataclass(slots=True)
class Scene:
    """A provider that answers by the script, and a job that has ended."""

    work: Path
    tries: Counter[str] = field(default_factory=Counter)
    fake: FakeProvider = field(init=False)
    handle: JobHandle = field(init=False)

    def answer(self, body: dict[str, Any]) -> str | Failure:
        name = body["messages"][-1]["content"]
        script = SCRIPT.get(name, ["fine"])
        self.tries[name] += 1
        return script[min(self.tries[name], len(script)) - 1]

    def run(self, **more: Any) -> None:
        result = orchestrator.run(FRAME, work=self.work, **OPTIONS, **self.fake.options, **more)
        self.handle = orchestrator.open_job(result.job_id, work=self.work)
        self.tries.clear()
        self.tries.update(FRAME["name"])

    def sent(self) -> str:
        """Return the rows that were sent since the last time."""
        return " ".join(sorted(name for name, count in self.tries.items() for _ in range(count - 1)))

    def lose_ledger(self) -> None:
        for path in self.work.glob("ledger.db*"):
            path.unlink()
        orchestrator.recover(work=self.work)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path / "work")
    with fake_provider(found.answer) as found.fake:
        found.run()
        yield found


def seen(result: Result) -> dict[str, str | None]:
    table = result.to_arrow().select(["name", "llm_response", "llm_error_code"])
    rows = (tuple(row.values()) for row in table.to_pylist())
    return {name: text if code in (None, "empty") else code for name, text, code in rows if name != "k8"}


def is_sound(scene: Scene, result: Result) -> bool:
    """Whether ledger, files and output agree to the last row, and a ledger made from the files is the same."""
    found = orchestrator.audit(result.job_id, work=scene.work, deep=True)
    assert not found.differences, found.differences
    assert {kind: len(result.rows(kind)) for kind in result.flaws} == result.flaws
    before = scene.handle.status()
    scene.lose_ledger()
    after = scene.handle.status()
    assert replace(after.totals, waiting_since=None) == replace(before.totals, waiting_since=None)
    assert after.look.causes == before.look.causes
    return result.counts["rows"] == result.counts["succeeded"] + result.counts["failed"]


FIRST: Final = {
    "k0": "maybe", "k1": "maybe", "k2": "", "k3": "", "k4": "bad", "k5": "bad", "k6": "odd", "k7": "maybe"
}  # fmt: skip
SECOND: Final = FIRST | {"k0": "yes", "k2": "filled"}
THIRD: Final = SECOND | {"k4": "mended", "k6": "odd no more", "k7": ""}
FOURTH: Final = THIRD | {"k0": "no", "k1": "late"}


@pytest.mark.slow
def test_what_is_chosen_is_sent_and_nothing_else(scene: Scene) -> None:
    """Whole answers, answers that are not whole and failed rows at once, again and again; each time all adds up.

    The first answer stands where the row fails; any new answer takes its place, also an empty one.
    """
    handle = scene.handle
    first = handle.results()
    assert seen(first) == FIRST

    second = handle.retry(rows=["llm_response = 'maybe' AND score < 0.5", "key:k2"])
    assert scene.sent() == "k0 k1 k2"
    assert (seen(second), is_sound(scene, second)) == (SECOND, True)

    third = handle.retry(rows="bad, odd", keys=["k7"])
    assert scene.sent() == "k0 k1 k2 k4 k5 k6 k7"
    assert (seen(third), is_sound(scene, third)) == (THIRD, True)
    assert [(cause.code, cause.rows) for cause in handle.status().look.causes] == [("bad", 1)]

    fourth = handle.retry(rows="llm_response IN ('yes', 'maybe')")  # k1 stands in the chunk where it failed
    assert (seen(fourth), is_sound(scene, fourth)) == (FOURTH, True)
    assert scene.sent() == "k0 k0 k1 k1 k2 k4 k5 k6 k7"

    fifth = handle.retry(rows="empty")  # by the counts of the ledger: of its chunk's empty answers k2 is elsewhere
    assert (seen(fifth), is_sound(scene, fifth)) == (FOURTH, True)
    sixth = handle.retry()
    assert (seen(sixth), is_sound(scene, sixth)) == (FOURTH, True)
    assert scene.sent() == "k0 k0 k1 k1 k2 k3 k4 k5 k5 k6 k7 k7"
    assert seen(first) == FIRST


@pytest.mark.slow
def test_a_choice_survives_an_interrupt_and_a_lost_ledger(scene: Scene) -> None:
    """The selection is on record before anything is sent: nothing of it is forgotten, nothing sent twice."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(JobInterrupted):
        scene.handle.retry(rows=["bad", "empty", "score < 0.2"], stop=stop)
    assert scene.handle.status().totals.waiting == 6
    before = scene.handle.status().totals
    scene.lose_ledger()
    assert replace(scene.handle.status().totals, waiting_since=None) == replace(before, waiting_since=None)

    result = scene.handle.run()

    assert scene.sent() == "k0 k1 k2 k3 k4 k5"
    assert (seen(result), is_sound(scene, result)) == (SECOND | {"k4": "mended"}, True)


@pytest.mark.slow
def test_a_choice_that_is_cancelled_leaves_all_as_it_was(scene: Scene) -> None:
    causes, stop = scene.handle.status().look.causes, threading.Event()
    stop.set()
    with pytest.raises(JobInterrupted):
        scene.handle.retry(rows=["failed", "llm_response = 'maybe'", "key:k3"], stop=stop)
    scene.handle.cancel()
    result = scene.handle.results()

    assert (seen(result), scene.sent(), scene.handle.status().look.causes) == (FIRST, "", causes)
    assert is_sound(scene, result)


def test_a_choice_is_counted_and_priced_before_it_is_sent(scene: Scene, tmp_path: Path) -> None:
    found = scene.handle.plan_retry(rows=["bad", "empty"], keys=["k0"])

    assert (found.rows, found.kinds) == (5, {"empty": 2, "failed": 2, "whole": 1})
    at = [scene.handle.job_id, "--work", str(scene.work)]
    done = CliRunner().invoke(app, ["retry", *at, "--rows", "bad", "--dry-run"])
    assert done.stdout.startswith(f"{scene.handle.job_id}: 2 rows to be sent again (2 failed)\n  cost: "), done.output
    (tmp_path / "keys").write_text("k0\nk9\n")
    done = CliRunner().invoke(app, ["retry", *at, "--keys", str(tmp_path / "keys")])
    assert "no row 'k9'" in str(done.exception)
    done = CliRunner().invoke(app, ["retry", *at, "--rows", "llm_response = 'nothing of the kind'"])
    assert "there is no such row that can be sent: nothing is sent again" in done.stderr
    with pytest.raises(ConfigError, match="no column 'scores'; did you mean score"):
        scene.handle.retry(rows="scores < 1")
    assert scene.sent() == ""


TYPED: Final = {"mood": {"enum": ["good", "bad"]}}


@pytest.mark.slow
def test_typed_failures_are_sent_with_what_was_wrong_with_them(tmp_path: Path) -> None:
    """By code or as `invalid`; a row that is sent so a second time keeps the request that it was sent with last."""
    bodies: list[list[dict[str, Any]]] = []

    def answer(body: dict[str, Any]) -> str:
        bodies.append(body["messages"])
        if body["messages"][0]["content"].startswith("k0"):
            return json.dumps({"mood": "good"})
        return "no JSON" if len(bodies) < 5 else json.dumps({"mood": "bad"})

    frame = pd.DataFrame({"name": ["k0", "k1"]})
    with fake_provider(answer) as fake:
        given: dict[str, Any] = {"prompt": "{name}", "model": "any", "response": TYPED, **fake.options}
        result = orchestrator.run(frame, work=tmp_path, policy={"attempts_max": 1}, **given)
        handle = orchestrator.open_job(result.job_id, work=tmp_path)
        assert handle.plan_retry(rows="invalid").kinds == {"invalid": 1}
        bodies.clear()
        again = handle.retry(rows="invalid_json")
        assert len(bodies[-1]) > len(bodies[0]) - 1
        assert "This answer cannot be used" in bodies[-1][-1]["content"]
        length = len(bodies[-1])
        bodies += [[], [], []]
        last = handle.retry(rows="invalid")

    assert (again.counts["failed"], last.counts["failed"]) == (1, 0)
    assert len(bodies[-1]) == length
    assert last.to_arrow()["llm_mood"].to_pylist() == ["good", "bad"]
    assert not orchestrator.audit(last.job_id, work=tmp_path, deep=True).differences
