"""OpenAI's dialect on a wire: whole jobs against the gateway, exact whatever it does; what was paid for is kept."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator import open_job
from tests.acceptance.command_line import CommandLine, command_line, ended, wait_until
from tests.acceptance.datasets import (
    check_bill,
    check_counts,
    check_exact,
    mark,
    marked,
    read_output,
    write_dataset,
    write_job,
)
from tests.acceptance.openai_jobs import CHUNK, MODEL, PROVIDER, ROWS, SOURCE, Scene, play, run_job
from tests.gateway_process import API_KEY, running_gateway
from tests.sums import sums
from tests.tiers import sampled

CALM: Final = Scene(name="a calm day", plan={})
QUEUE_FULL: Final = Scene(name="batch: the queue is full", plan={"batch": {"token_limit": 2}})
ALL_FAIL: Final = Scene(
    name="rows: 400 for all, a null output file",
    plan={"rows": {"fail": {"400": 1.0}, "times": 0}},
    failed={"400": ROWS},
)
SCENES: Final = (
    CALM,
    QUEUE_FULL,
    ALL_FAIL,
    Scene(
        name="upload: 503, a cut; create: 429 twice",
        plan={"upload": {"refuse": {"503": 1}, "lost": 1}, "create": {"refuse": {"429": 2}}},
    ),
    Scene(name="status: 404, 502, a cut", plan={"status": {"not_found": 1, "refuse": {"502": 1}, "lost": 1}}),
    Scene(
        name="status: stale, an unknown word, wrong counts, and the output file comes later",
        plan={"status": {"stale": 2, "unknown": 1, "empty_result_url": 2, "counts_off_by": 1}},
    ),
    Scene(
        name="batch: failed, with some results, expired",
        plan={"batch": {"fail": 1, "fail_partial": 1, "expire": 2, "done_share": 0.4}},
    ),
    Scene(name="batch: expired before anything ran", plan={"batch": {"expire": 1, "done_share": 0.0}}),
    Scene(name="rows: 429 and 500", plan={"rows": {"fail": {"429": 3, "500": 2}}}),
    Scene(name="rows: without a line", plan={"rows": {"fail": {"500": 3}, "no_line": True}}),
    Scene(
        name="lines: missing, foreign, broken",
        plan={"lines": {"missing": 2, "foreign_custom_id": 1, "not_json": 1}},
        is_damaged=True,
    ),
    Scene(
        name="lines: twice, and cut",
        plan={"lines": {"duplicate": 3, "duplicate_differing": 2, "cut_last": 1}},
        is_damaged=True,
    ),
    Scene(name="download: 404, 502, a cut", plan={"download": {"refuse": {"404": 1, "502": 1}, "cut": 1}}),
    Scene(
        name="everything",
        plan={
            "seed": 3,
            "upload": {"refuse": {"503": 0.2}, "lost": 0.1},
            "create": {"refuse": {"429": 0.2}, "lost": 0.2, "accept_then": {"500": 0.2}},
            "list": {"lag_s": 0.5, "refuse": {"500": 0.2}},
            "delete": {"lost": 0.2},
            "status": {"refuse": {"502": 0.05}, "lost": 0.05},
            "batch": {"expire": 0.2, "fail": 0.1, "done_share": 0.6},
            "rows": {"fail": {"429": 0.1, "500": 0.05}},
            "lines": {"missing": 0.02, "not_json": 0.02, "duplicate": 0.05},
            "download": {"refuse": {"502": 0.05}, "cut": 0.05},
        },
        policy={"attempts_max": 12},
        is_damaged=True,
    ),
)

QUICK: Final = {CALM.name, "status: 404, 502, a cut"}


@pytest.fixture(autouse=True)
def openai_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right key, in this process's own environment."""
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scene", sampled(SCENES, quick=QUICK, name=lambda scene: scene.name))
def test_each_row_ends_exactly_once_whatever_the_provider_does(scene: Scene, tmp_path: Path) -> None:
    """Rows in = succeeded + dead, each answer on its own row, none paid twice but by the provider's doing."""
    outcome = play(scene, tmp_path)

    check_exact(outcome.output, SOURCE, failed=scene.failed, is_damaged=scene.is_damaged)
    check_counts(outcome.result.status.as_dict())
    check_bill(outcome.bill)
    if scene is CALM:
        assert outcome.bill["creates"] == ROWS // CHUNK
        # The gateway rounds each batch to a millionth of a dollar; here it is usage times price, which is what is paid.
        assert outcome.result.cost_usd is not None
        off_usd = abs(outcome.result.cost_usd - Decimal(outcome.bill["fees_usd"]))
        assert off_usd <= Decimal("0.000001") * outcome.bill["creates"]
    if scene is QUEUE_FULL:
        assert set(outcome.output["llm_attempts"].to_pylist()) == {1}  # a batch that never began is no attempt of a row


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_cancelled_job_keeps_what_was_answered(tmp_path: Path) -> None:
    """Batches under way are cancelled at the provider; both of their files are read."""
    cli: CommandLine = command_line(tmp_path / "user", key=None, OPENAI_API_KEY=API_KEY)
    with running_gateway(tmp_path / "gateway", "--duration-s", "6") as gateway:
        policy = {"chunk_requests_max": 20, "batches_in_flight_max": 3}
        tables: dict[str, Any] = {"job": {"provider": "openai"}, "request": {"model": MODEL}, "provider": PROVIDER}
        dataset = write_dataset(tmp_path / "rows.parquet", 200)
        job = write_job(tmp_path / "stopped.toml", dataset, gateway.url, policy=policy, **tables)
        running = cli.start("run", job)
        wait_until(lambda: len(gateway.batches()) >= 5, "some batches answered, some under way")

        asked = cli.run("cancel", job)
        ended(running)

        assert asked.code == 0, asked
        [folder] = [path.parent for path in cli.work.glob("*/job.json")]
        handle = open_job(folder.name, work=cli.work)
        wait_until(lambda: handle.status().state == "cancelled", "the cancel to be carried out")
        status = sums(handle.status().as_dict())
        assert status["rows"] == status["succeeded"] + status["failed"] == 200  # type: ignore[operator]
        output = read_output(handle.results().path)
        assert output.select(["number", "text"]).equals(marked(200))
        answers = [row for row in output.to_pylist() if row["llm_status"] == "succeeded"]
        assert all(row["llm_response"].split()[1] == mark(row["number"]) for row in answers)
        assert gateway.bill()["answers"] == len(answers) == status["succeeded"]
        assert 0 < len(answers) < 200


@pytest.mark.timeout(200)
def test_a_chunk_whose_file_is_too_large_is_cut_in_two(tmp_path: Path) -> None:
    """The provider's limit is lower than the table says: 413 to the upload, and the halves go through."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "0.2", "--max-bytes", "6000") as gateway:
        result = run_job(gateway, tmp_path / "work", chunk_requests_max=ROWS)

        check_exact(read_output(result.path), SOURCE)
        assert gateway.bill()["creates"] > 1
        assert gateway.bill()["paid_twice"] == 0
