"""A source that is lost or changed when rows are already paid for: the answers are delivered without it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import JobHandle, JobInterrupted, JobNotFinished, JobStopped, OrchestratorError
from orchestrator.cli.main import app
from orchestrator.domain.model import JobState
from orchestrator.testing import Failure, FakeProvider, fake_provider
from tests.tiers import sampled

TEXTS = ["a", "b", "c", "d", "e"]
CONTENT = "text\n" + "\n".join(TEXTS) + "\n"


class Play:
    """A job whose source has `change` happen to it while a request is answered: the first, or number `change_at`."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "rows.csv"
        self.place.write_text(CONTENT)
        self.work = folder / "work"
        self.asked: list[str] = []
        self.change_at = 1
        self.change: Callable[[], Any] = lambda: None
        self.fake: FakeProvider

    def answer(self, body: dict[str, Any]) -> Any:
        text = body["messages"][0]["content"]
        self.asked.append(text)
        if len(self.asked) == self.change_at:
            self.change()
        return Failure() if text == "c" else f"answer to {text}"

    def run(self) -> Any:
        return orchestrator.run(str(self.place), prompt="{text}", model="m", work=self.work, **self.fake.options)

    def stopped(self, change: Callable[[], Any]) -> tuple[JobHandle, str]:
        self.change = change
        with pytest.raises(JobStopped) as raised:
            self.run()
        (handle,) = (orchestrator.open_job(one.job_id, work=self.work) for one in orchestrator.jobs(work=self.work))
        return handle, str(raised.value)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    made = Play(tmp_path)
    with fake_provider(made.answer) as made.fake:
        yield made


CHANGES = {
    "deleted": lambda place: place.unlink(),
    "changed": lambda place: place.write_text(CONTENT.replace("b", "B")),
    "longer": lambda place: place.write_text(CONTENT + "f\n"),
    "damaged": lambda place: place.write_bytes(CONTENT.encode().replace(b"b", b"\xff")),
}


@pytest.mark.parametrize("kind", sampled(CHANGES, quick={"deleted", "changed"}))
def test_what_was_answered_is_delivered_without_the_source(play: Play, kind: str) -> None:
    """Each answered row once, in order, with its id and its answer or error; the message names the command."""
    handle, message = play.stopped(lambda: CHANGES[kind](play.place))

    assert f"orchestrator results {handle.job_id} --answers" in message
    table = pa.Table.from_batches(handle.answers())
    assert table["row"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["shard"].to_pylist() == [0] * 5
    assert table["custom_id"].to_pylist() == [f"{handle.job_id[-8:]}-0-{row}" for row in range(5)]
    assert table["llm_response"].to_pylist() == ["answer to a", "answer to b", None, "answer to d", "answer to e"]
    assert table["llm_status"].to_pylist() == ["succeeded"] * 2 + ["failed"] + ["succeeded"] * 2


def test_the_command_prints_each_answered_row_as_a_line_of_json(play: Play) -> None:
    handle, _ = play.stopped(play.place.unlink)

    done = CliRunner().invoke(app, ["results", handle.job_id, "--work", str(play.work), "--answers"])

    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["row"], line["llm_response"]) for line in lines][:2] == [(0, "answer to a"), (1, "answer to b")]
    assert len(lines) == 5


@pytest.mark.parametrize("kind", sampled(CHANGES, quick={"damaged"}))
def test_answers_without_the_source_go_to_a_file_with_the_requests_and_never_beside_other_rows(
    play: Play, tmp_path: Path, kind: str
) -> None:
    """The request says which row it was; with the source's columns there is an error that names the way out."""
    handle, _ = play.stopped(lambda: CHANGES[kind](play.place))

    with pytest.raises(OrchestratorError, match=r"export \S+ --answers -o answers\.parquet"):
        handle.export(tmp_path / "beside.csv", partial=True)
    assert handle.export(tmp_path / "answers.parquet", without_source=True) == 5

    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    asked = [json.loads(row["request"])["params"]["messages"][0]["content"] for row in rows]
    assert asked == TEXTS
    assert not (tmp_path / "beside.csv").exists()


def test_rows_without_an_answer_yet_are_left_out(play: Play) -> None:
    """A job that was interrupted: what is answered is delivered, and nothing is said of the rest."""
    stop, fields = threading.Event(), {"prompt": "{text}", "model": "m", "work": play.work}
    policy = {"chunk_requests_max": 1, "batches_in_flight_max": 1}
    play.change = stop.set
    play.change_at = 3  # one batch at a time: the first row is settled by then
    job = orchestrator.Job(dataset=str(play.place), **fields, policy=policy, **play.fake.options)
    with pytest.raises(JobInterrupted):
        orchestrator.run(job, stop=stop)
    (one,) = orchestrator.jobs(work=play.work)
    handle = orchestrator.open_job(one.job_id, work=play.work)
    settled = handle.status().totals.settled

    assert 0 < settled < 5
    assert sum(batch.num_rows for batch in handle.answers()) == settled


@pytest.mark.parametrize("kind", sampled(["deleted", "changed"], quick={"deleted"}))
def test_a_job_whose_source_is_put_back_ends_without_another_request(play: Play, kind: str) -> None:
    play.stopped(lambda: CHANGES[kind](play.place))
    play.place.write_text(CONTENT)
    asked = len(play.asked)

    assert play.run().to_pandas()["text"].tolist() == TEXTS
    assert len(play.asked) == asked


@pytest.mark.slow
@pytest.mark.parametrize("kind", sampled(["deleted", "damaged"], quick={"deleted"}))
def test_a_job_whose_source_is_lost_can_be_cancelled(play: Play, kind: str) -> None:
    handle, _ = play.stopped(lambda: CHANGES[kind](play.place))

    found = handle.cancel()

    assert found.totals.live_chunks == 0
    assert found.state is JobState.CANCELLED
    assert f"orchestrator results {handle.job_id} --answers" in found.reason
    with pytest.raises(JobNotFinished, match=r"is cancelled: it has no output: .* --answers"):
        handle.results()
    assert pa.Table.from_batches(handle.answers()).num_rows == 5
    assert orchestrator.audit(handle.job_id, work=play.work).is_clean
    play.place.write_text(CONTENT)
    assert play.run().to_pandas()["text"].tolist() == TEXTS
    assert play.asked.count("a") == 1


def test_a_job_whose_source_is_lost_while_batches_are_in_flight_is_cancelled_to_its_end(play: Play) -> None:
    """The batches are cancelled and collected first; then the job ends, though it can write no output."""
    stop = threading.Event()
    play.change = lambda: (play.place.unlink(), stop.set())
    policy = {"chunk_requests_max": 1, "batches_in_flight_max": 2}
    with pytest.raises(JobInterrupted):
        orchestrator.run(
            str(play.place), prompt="{text}", model="m", work=play.work, policy=policy, stop=stop, **play.fake.options
        )
    [handle] = orchestrator.jobs(work=play.work)
    assert handle.status().totals.live_chunks

    found = handle.cancel()

    assert (found.state, found.totals.live_chunks) == (JobState.CANCELLED, 0)
    assert pa.Table.from_batches(handle.answers())["llm_response"].to_pylist()[0] == "answer to a"
