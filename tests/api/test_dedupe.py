"""`policy.dedupe`: of equal requests of one job the first is sent, and the other rows get what it came to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import JobInterrupted, Result
from orchestrator.testing import KEY_VARIABLE
from tests.api.test_reuse import Shop, answers, payers
from tests.api.test_reuse import shop as shop
from tests.sums import sums

TEXTS: Final = ["a", "b", "a", "c", "b", "a"]


SHARD_ROWS: Final = "ORCHESTRATOR_SHARD_ROWS"


@pytest.fixture(params=["one shard", "a shard a row"])
def shards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the rows of a job in one shard, and each in one of its own."""
    if request.param != "one shard":
        monkeypatch.setenv(SHARD_ROWS, "1")


def run(shop: Shop, texts: Sequence[str] | Path, *, policy: dict[str, Any] | None = None, **more: Any) -> Result:
    if SHARD_ROWS in os.environ and not isinstance(texts, Path):
        rows, texts = list(texts), shop.work.parent / f"{'-'.join(texts)}.parquet"
        if not texts.exists():
            pq.write_table(pa.table({"text": rows}), texts, row_group_size=1)
    return shop.run(texts, policy={"dedupe": True, **(policy or {})}, **more)


def retried(shop: Shop, first: Result) -> Result:
    shop.sold.clear()
    result = orchestrator.open_job(first.job_id, work=shop.work).retry()
    shop.check(result)
    return result


def test_equal_requests_are_sent_once_and_all_their_rows_are_answered(shop: Shop) -> None:
    job = orchestrator.Job(
        dataset=pa.table({"text": TEXTS}),
        prompt="{text}",
        model="gpt-5-mini",
        work=shop.work,
        policy={"dedupe": True},
        **shop.fake.options,
    )
    planned = orchestrator.plan(job)

    result = orchestrator.run(job)

    shop.check(result)
    assert shop.sold == {"a": 1, "b": 1, "c": 1}
    assert answers(result) == [f"to {text}" for text in TEXTS]
    assert payers(result) == [None, None, result.job_id, None, result.job_id, result.job_id]
    assert (planned.requests, planned.duplicates) == (3, result.status.totals.reused)
    assert result.cost_usd
    assert sum(result.to_arrow()["llm_cost_usd"].to_pylist()) == pytest.approx(float(result.cost_usd))


def test_equal_requests_are_sent_each_unless_it_is_asked_for(shop: Shop) -> None:
    shop.run(TEXTS)

    assert shop.sold == {"a": 3, "b": 2, "c": 1}


@pytest.mark.usefixtures("shards")
@pytest.mark.slow
def test_what_is_not_whole_is_copied_and_counted_too(shop: Shop) -> None:
    """Earlier jobs' empty answers are not taken; within a job an equal request is not bought for another."""
    result = run(shop, ["is empty", "is cut", "is empty", "is cut", "a"])

    assert shop.sold == {"is empty": 1, "is cut": 1, "a": 1}
    assert result.flaws == {"truncated": 2, "empty": 2, "refused": 0}


@pytest.mark.usefixtures("shards")
@pytest.mark.slow
def test_duplicates_of_a_failed_row_fail_with_its_error_and_are_retried_as_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(shop, ["fails", "a", "fails", "fails"])
    assert shop.sold == {"fails": 1, "a": 1}
    rows = first.to_arrow().to_pylist()
    assert [row["llm_error_code"] for row in rows] == ["bad", None, "bad", "bad"]
    assert [row["llm_attempts"] for row in rows] == [1, 1, 0, 0]

    assert [cause.rows for cause in first.status.look.causes] == [3]

    assert retried(shop, first).counts["failed"] == 3
    assert shop.sold == {"fails": 1}
    monkeypatch.setattr("tests.api.test_reuse.SCRIPT", {})
    third = retried(shop, first)
    assert shop.sold == {"fails": 1}
    assert answers(third) == ["to fails", "to a", "to fails", "to fails"]
    assert third.to_arrow()["llm_attempts"].to_pylist() == [3, 1, 0, 0]


@pytest.mark.slow
def test_a_canary_and_the_rows_after_it_share_answers(shop: Shop) -> None:
    texts = [f"row {number % 40}" for number in range(1_200)]

    result = run(shop, texts, policy={"canary_rows": 20, "chunk_requests_max": 300})

    assert shop.sold == dict.fromkeys(texts, 1)
    assert result.status.totals.reused == 1_160
    assert answers(result) == [f"to {text}" for text in texts]


def test_equal_requests_are_found_in_other_shards(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row of the table is the one that is sent; a failure reaches all shards, too."""
    monkeypatch.setenv(SHARD_ROWS, "1")

    result = run(shop, ["a", "fails", "b", "fails", "a", "b"])

    assert result.status.totals.shards == 6
    assert shop.sold == {"a": 1, "fails": 1, "b": 1}
    assert answers(result) == ["to a", None, "to b", None, "to a", "to b"]
    assert payers(result) == [None, None, None, None, result.job_id, result.job_id]
    assert result.to_arrow()["llm_error_code"].to_pylist() == [None, "bad", None, "bad", None, None]


@pytest.mark.slow
def test_small_files_share_answers(shop: Shop, tmp_path: Path) -> None:
    """They are in one shard."""
    for name in ("one", "two"):
        pq.write_table(pa.table({"text": TEXTS}), tmp_path / f"{name}.parquet")

    result = run(shop, f"{tmp_path}/*.parquet")

    assert shop.sold == {"a": 1, "b": 1, "c": 1}
    assert answers(result) == [f"to {text}" for text in TEXTS * 2]


@pytest.mark.slow
def test_a_later_job_takes_copies_as_well_and_names_who_paid(shop: Shop) -> None:
    first = run(shop, TEXTS)

    second = run(shop, [*TEXTS, "d", "d"])

    assert shop.sold == {"d": 1}
    assert payers(second) == [first.job_id] * 6 + [None, second.job_id]


@pytest.mark.usefixtures("shards")
@pytest.mark.slow
@pytest.mark.parametrize("failing", [False, True])
def test_a_restored_ledger_knows_duplicates(shop: Shop, *, failing: bool) -> None:
    handle = orchestrator.open_job(run(shop, [*TEXTS, *["fails", "fails"] * failing]).job_id, work=shop.work)
    if failing:
        handle.retry()
    before = sums(handle.status().as_dict())
    for path in shop.work.glob("ledger.db*"):
        path.unlink()

    orchestrator.recover(work=shop.work)

    assert sums(handle.status().as_dict()) == before
    shop.sold.clear()
    shop.check(handle.results())


@pytest.mark.usefixtures("shards")
@pytest.mark.slow
def test_a_cancelled_job_keeps_what_was_paid_and_goes_on_later(shop: Shop) -> None:
    stop = threading.Event()
    shop.meanwhile = stop.set
    policy = {"chunk_requests_max": 1, "batches_in_flight_max": 1}
    with pytest.raises(JobInterrupted):
        run(shop, TEXTS, policy=policy, stop=stop)
    shop.meanwhile = None
    [handle] = orchestrator.jobs(work=shop.work)
    handle.cancel()

    ended = handle.wait()
    sold = Counter(shop.sold)  # also of a batch that was under way at the interrupt
    shop.check(ended)
    done = run(shop, TEXTS, policy=policy)
    assert answers(done) == [f"to {text}" for text in TEXTS]
    assert shop.sold + sold == {"a": 1, "b": 1, "c": 1}


@pytest.mark.slow
@pytest.mark.usefixtures("shards")
def test_a_copy_that_stands_after_it_was_asked_for_again_is_a_reused_row(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a new answer is there; also where the request fails, fails again, or the ledger is lost meanwhile."""
    first = run(shop, ["is cut", "a", "is cut", "is cut"])
    handle = orchestrator.open_job(first.job_id, work=shop.work)
    script = dict(sys.modules["tests.api.test_reuse"].SCRIPT)
    monkeypatch.setattr("tests.api.test_reuse.SCRIPT", script | {"is cut": script["fails"]})

    for _ in range(2):
        failed = handle.retry(rows="truncated")
        assert_reused(shop, failed, [None, None, first.job_id, first.job_id])
    before = sums(handle.status().as_dict())
    for path in shop.work.glob("ledger.db*"):
        path.unlink()
    orchestrator.recover(work=shop.work)
    assert sums(handle.status().as_dict()) == before

    monkeypatch.setattr("tests.api.test_reuse.SCRIPT", script)
    assert_reused(shop, handle.retry(keys=[2]), [None, None, None, first.job_id])
    monkeypatch.setattr("tests.api.test_reuse.SCRIPT", script | {"is cut": script["fails"]})
    assert_reused(shop, handle.retry(rows="truncated"), [None, None, None, first.job_id])


def assert_reused(shop: Shop, result: Result, expected: list[str | None]) -> None:
    totals = result.status.totals
    assert payers(result) == expected
    assert (totals.reused, totals.succeeded) == (len([name for name in expected if name]), 4)
    assert not orchestrator.audit(result.job_id, work=shop.work, deep=True).differences


DIES_WHILE_COPYING: Final = """
import os, signal, sys
import pyarrow as pa
import orchestrator
from orchestrator.job_files import records

keep = records.keep_copied

def and_die(job_files, revision, chunk):
    if sys.argv[4] == "after":
        keep(job_files, revision, chunk)
    os.kill(os.getpid(), signal.SIGKILL)

records.keep_copied = and_die
url, key, work, _, *texts = sys.argv[1:]
options = {"dialect": "onerouter", "base_url": url, "api_key_env": key, "poll_s_min": 0.1, "poll_s_max": 0.2}
orchestrator.run(pa.table({"text": texts}), prompt="{text}", model="any", work=work, name="mood", max_tokens=6,
                 provider="fake", provider_options=options, policy={"dedupe": True})
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_that_is_killed_while_it_copies_costs_nothing(shop: Shop, moment: str) -> None:
    command = [sys.executable, "-c", DIES_WHILE_COPYING, shop.fake.url, KEY_VARIABLE, str(shop.work), moment, *TEXTS]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert shop.sold == {"a": 1, "b": 1, "c": 1}

    result = run(shop, TEXTS)

    assert shop.sold == {}
    assert answers(result) == [f"to {text}" for text in TEXTS]
