"""Answers that the work folder has already are taken for the same requests of a later job: nothing is bought twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import JobInterrupted, JobStopped, Result
from orchestrator.job_files.result_parts import PART_SCHEMA, part_writer
from orchestrator.testing import KEY_VARIABLE, Failure, FakeProvider, fake_provider
from tests.sums import sums

TEXTS: Final = [f"row {number}" for number in range(6)]
BAD: Final = Failure(status=400, code="bad", message="no")
SCRIPT: Final[dict[str, str | Failure]] = {
    "fails": BAD,
    "is empty": "",
    "is cut": "one two three four five six seven eight",
}


@dataclass(slots=True)
class Shop:
    """A provider that counts what it sells, and a work folder."""

    work: Path
    sold: Counter[str]
    meanwhile: Callable[[], Any] | None = None  # happens when a request is answered
    fake: FakeProvider = field(init=False)

    def answer(self, body: dict[str, Any]) -> str | Failure:
        text = body["messages"][-1]["content"]
        self.sold[text] += 1
        if self.meanwhile is not None:
            self.meanwhile()
        return SCRIPT.get(text.rpartition(":")[2], f"to {text}")

    def run(
        self, texts: Sequence[str] | str | Path, *, name: str = "mood", prompt: str = "{text}", **more: Any
    ) -> Result:
        """Run a job over these texts, or over this file, to its end; its audit is clean, and its rows add up."""
        self.sold.clear()
        table = texts if isinstance(texts, str | Path) else pa.table({"text": texts})
        options = {**self.fake.options, **more}
        options.setdefault("max_tokens", 6)
        result = orchestrator.run(table, prompt=prompt, model="any", work=self.work, name=name, **options)
        self.check(result)
        return result

    def check(self, result: Result) -> None:
        found = orchestrator.audit(result.job_id, work=self.work, deep=True)
        assert not found.differences, found.differences
        totals, rows = result.status.totals, result.to_arrow().to_pylist()
        reused = [row for row in rows if row["llm_reused_from"]]
        assert (totals.reused, totals.succeeded + result.counts["failed"]) == (len(reused), totals.rows)
        assert all((row["llm_attempts"], row["llm_cost_usd"]) == (0, Decimal(0)) for row in reused)
        assert sum(self.sold.values()) <= totals.rows - len(reused)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        found = Shop(work=tmp_path / "work", sold=Counter())
        found.fake = stack.enter_context(fake_provider(found.answer))
        yield found


def answers(result: Result) -> list[str | None]:
    return result.to_arrow()["llm_response"].to_pylist()


def payers(result: Result) -> list[str | None]:
    return result.to_arrow()["llm_reused_from"].to_pylist()


def test_a_grown_dataset_sends_its_new_rows_alone(shop: Shop) -> None:
    first = shop.run(TEXTS)
    assert len(shop.sold) == 6

    second = shop.run([*TEXTS, "a new one"])

    assert shop.sold == {"a new one": 1}
    assert answers(second) == [f"to {text}" for text in [*TEXTS, "a new one"]]
    assert payers(second) == [first.job_id] * 6 + [None]
    assert second.status.totals.reused == 6


@pytest.mark.slow
def test_an_edited_row_alone_is_sent(shop: Shop) -> None:
    shop.run(TEXTS)

    second = shop.run([*TEXTS[:2], "edited", *TEXTS[3:]])

    assert shop.sold == {"edited": 1}
    assert answers(second)[1:4] == ["to row 1", "to edited", "to row 3"]


@pytest.mark.slow
def test_a_reordered_dataset_is_answered_without_a_create(shop: Shop) -> None:
    shop.run(TEXTS)

    second = shop.run(TEXTS[::-1])

    assert (shop.sold, second.status.totals.batches, second.cost_usd) == ({}, 0, 0)
    assert answers(second) == [f"to {text}" for text in TEXTS[::-1]]


@pytest.mark.slow
def test_a_renamed_file_is_answered_without_a_create(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "monday.csv").write_text("text\n" + "\n".join(TEXTS))
    shop.run(tmp_path / "monday.csv")
    (tmp_path / "tuesday.csv").write_text("id,text\n" + "\n".join(f"{row},{text}" for row, text in enumerate(TEXTS)))

    second = shop.run(tmp_path / "tuesday.csv")

    assert (shop.sold, answers(second)) == ({}, [f"to {text}" for text in TEXTS])


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"prompt": "Now: {text}"}, {"system": "Be brief."}, {"max_tokens": 7}])
def test_a_changed_request_is_sent(shop: Shop, changed: dict[str, Any]) -> None:
    shop.run(TEXTS)

    assert shop.run(TEXTS, **changed).status.totals.reused == 0
    assert shop.sold.total() == 6


@pytest.mark.slow
def test_another_order_of_parameters_is_the_same_request(shop: Shop) -> None:
    shop.run(TEXTS, parameters={"temperature": 0, "top_p": 0.5})

    shop.run(TEXTS[1:], parameters={"top_p": 0.5, "temperature": 0})

    assert shop.sold == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reuse", "other", "sold"), [("name", "mood", 0), ("name", "tone", 6), ("all", "tone", 0), ("never", "mood", 6)]
)
def test_the_policy_says_whose_answers_are_taken(shop: Shop, reuse: str, other: str, sold: int) -> None:
    shop.run(TEXTS)

    shop.run(TEXTS[::-1], name=other, policy={"reuse": reuse})

    assert shop.sold.total() == sold


def test_rows_that_failed_or_came_back_empty_are_sent_again(shop: Shop) -> None:
    """One that was cut off is not: the same request would be cut off at the same limit."""
    shop.run([*SCRIPT, "row 0"])

    second = shop.run(["another", *SCRIPT, "row 0"])

    assert set(shop.sold) == {"another", "fails", "is empty"}
    assert second.flaws == {"truncated": 1, "empty": 1, "refused": 0}
    assert [bool(payer) for payer in payers(second)] == [False, False, False, True, True]


@pytest.mark.slow
def test_a_reused_answer_that_was_cut_off_can_be_sent_again_on_demand(shop: Shop) -> None:
    shop.run(["is cut", "row 0"])
    second = shop.run(["is cut", "row 0", "row 1"])
    shop.sold.clear()

    third = orchestrator.open_job(second.job_id, work=shop.work).retry(rows="truncated")

    assert shop.sold == {"is cut": 1}
    shop.check(third)
    assert third.status.totals.reused == 1
    assert third.to_arrow()["llm_attempts"].to_pylist() == [1, 0, 1]


@pytest.mark.slow
def test_an_older_job_may_be_deleted_afterwards(shop: Shop) -> None:
    """A third job takes the answers from the second, and says who paid for them."""
    first = shop.run(TEXTS)
    second = shop.run([*TEXTS, "a new one"])
    shutil.rmtree(shop.work / first.job_id)

    shop.check(second)
    third = shop.run(["a new one", *TEXTS])

    assert (shop.sold, payers(third)) == ({}, [second.job_id] + [first.job_id] * 6)


@pytest.mark.slow
@pytest.mark.parametrize("retried", [False, True])
def test_a_restored_ledger_knows_reused_rows(shop: Shop, *, retried: bool) -> None:
    shop.run(["is cut", "row 0"])
    handle = orchestrator.open_job(shop.run(["is cut", "row 0", "row 1"]).job_id, work=shop.work)
    if retried:
        handle.retry(rows="truncated")
    before = sums(handle.status().as_dict())
    for path in shop.work.glob("ledger.db*"):
        path.unlink()

    orchestrator.recover(work=shop.work)

    assert sums(handle.status().as_dict()) == before
    shop.check(handle.results())


@pytest.mark.slow
def test_a_paid_sample_is_reused_by_the_run_of_all_rows_and_judges_its_cost(shop: Shop) -> None:
    job = orchestrator.Job(
        dataset=pa.table({"text": TEXTS}), prompt="{text}", model="gpt-5-mini", work=shop.work, **shop.fake.options
    )
    before = orchestrator.plan(job)
    sample = orchestrator.run(job, limit=2)
    assert (shop.sold, sample.counts["rows"]) == ({"row 0": 1, "row 1": 1}, 2)
    shop.check(sample)

    planned = orchestrator.plan(job)

    assert (before.requests, before.reused, before.judged_by) == (6, 0, 0)
    assert (planned.requests, planned.reused, planned.reused_from) == (4, 2, {sample.job_id: 2})
    assert sample.cost_usd
    assert (planned.judged_by, planned.cost_usd_expected) == (2, sample.cost_usd / 2 * 4)
    assert orchestrator.plan(job, limit=2).requests == 0
    result = orchestrator.run(job)
    assert shop.sold == dict.fromkeys(TEXTS, 1)
    assert payers(result) == [sample.job_id] * 2 + [None] * 4


@pytest.mark.slow
def test_the_audit_finds_an_answer_to_another_request(shop: Shop) -> None:
    shop.run(TEXTS)
    second = shop.run(TEXTS[::-1])
    [path] = (shop.work / second.job_id / "parts").glob("*.reused.parquet")
    table = pq.read_table(path)
    keys = pa.array(table["content_key"].to_pylist()[::-1], table.schema.field("content_key").type)
    path.unlink()
    with path.open("wb") as out, part_writer(out) as writer:
        writer.write_table(
            table.set_column(table.schema.get_field_index("content_key"), PART_SCHEMA.field("content_key"), keys)
        )

    found = orchestrator.audit(second.job_id, work=shop.work, deep=True)

    assert [(one.what, one.archive) for one in found.differences] == [
        ("rows whose reused answer is not one to their request", "6")
    ]


DIES_WHILE_COPYING: Final = """
import os, signal, sys
import pyarrow as pa
import orchestrator
from orchestrator.job_files.reused_parts import OtherAnswers

copy = OtherAnswers.copy

def and_die(self, out, **rows):
    copy(self, out, **rows)
    out.flush()
    os.kill(os.getpid(), signal.SIGKILL)

OtherAnswers.copy = and_die
url, key, work, *texts = sys.argv[1:]
options = {"dialect": "onerouter", "base_url": url, "api_key_env": key, "poll_s_min": 0.1, "poll_s_max": 0.2}
orchestrator.run(pa.table({"text": texts}), prompt="{text}", model="any", work=work, name="mood", max_tokens=6,
                 provider="fake", provider_options=options)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_while_answers_are_copied_leaves_nothing_behind(shop: Shop) -> None:
    first = shop.run(TEXTS)
    texts = [*TEXTS, "a new one"]
    command = [sys.executable, "-c", DIES_WHILE_COPYING, shop.fake.url, KEY_VARIABLE, str(shop.work), *texts]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    second = shop.run(texts)

    assert shop.sold == {"a new one": 1}
    assert payers(second) == [first.job_id] * 6 + [None]


@pytest.mark.slow
def test_answers_of_a_job_that_stopped_late_are_there_for_the_repaired_source(shop: Shop, tmp_path: Path) -> None:
    """The source changed while the batch was away: no answer is written beside another row, and none is lost."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text", *TEXTS]))
    shop.meanwhile = lambda: path.write_text("\n".join(["text", *TEXTS[::-1]]))
    with pytest.raises(JobStopped):
        shop.run(path)
    shop.meanwhile = None
    path.write_text("\n".join(["text", *TEXTS, "repaired"]))
    [stopped] = orchestrator.jobs(work=shop.work)
    stopped.cancel()

    result = shop.run(path)

    assert (shop.sold, answers(result)) == ({"repaired": 1}, [f"to {text}" for text in [*TEXTS, "repaired"]])


@pytest.mark.slow
def test_a_prompt_edited_in_mid_flight_reuses_nothing_of_the_old_one(shop: Shop) -> None:
    """And the old one goes on afterwards as if nothing had been."""
    stop = threading.Event()
    shop.meanwhile = stop.set
    with pytest.raises(JobInterrupted):
        shop.run(TEXTS, policy={"chunk_requests_max": 2, "batches_in_flight_max": 1}, stop=stop)
    shop.meanwhile = None
    interrupted = Counter(shop.sold)
    assert 0 < interrupted.total() < 6

    edited = shop.run(TEXTS, prompt="edited: {text}", alongside=True)
    assert (edited.status.totals.reused, shop.sold.total()) == (0, 6)
    assert set(answers(edited)) == {f"to edited: {text}" for text in TEXTS}

    old = shop.run(TEXTS, policy={"chunk_requests_max": 2})
    assert answers(old) == [f"to {text}" for text in TEXTS]
    assert (shop.sold + interrupted) == dict.fromkeys(TEXTS, 1)
