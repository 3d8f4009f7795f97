"""Whole jobs whose results come in a form that nobody promised: what cannot be read is kept, and never bought again.

Seen at: gateways that give bodies as text (bottenderjs#438), results in the status object (OpenRouter's and SIRAYA's
batch APIs), output files that appear minutes after the end (BerriAI/litellm#37713), an empty output file whose rows are
in no other. OneRouter documents no result line at all.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

import orchestrator
from orchestrator import JobNeedsDecision, open_job
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.reread import Reading
from orchestrator.providers import registry
from orchestrator.providers.onerouter.dialect import OneRouterDialect
from tests.reports.play import Seen, play
from tests.reports.server import Batch, Object, OneRouterServer, OpenAIServer, Reply, Request, text_for


class UnknownShape(OneRouterServer):
    """Every line has a form of its own, but for the first few of each batch."""

    def __init__(self, known: int = 0) -> None:
        super().__init__()
        self._known = known

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        if place < self._known:
            return super().answer(request, place)
        self.pay(request)
        return [("output", {"ref": {"row": request.custom_id}, "reply": {"said": text_for(request.prompt)}})]


class Better(OneRouterDialect):
    """A later version, which reads that form."""

    def read_line(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        content = json.loads(line)
        if "reply" not in content:
            return super().read_line(line, keep_raw=keep_raw)
        return content["ref"]["row"], Answer(succeeded=True, text=content["reply"]["said"], finish_reason="stop")


@pytest.fixture
def better() -> Iterator[None]:
    """Upgrade the program."""
    registry.register("onerouter", Better)
    yield
    registry.register("onerouter", OneRouterDialect)


def audited(seen: Seen) -> orchestrator.Audit:
    found = orchestrator.audit(str(seen.status["job_id"]), work=seen.work, deep=True)
    assert found.is_clean, [difference.as_dict() for difference in found.differences]
    return found


def test_an_unknown_shape_costs_one_batch_and_is_read_once_there_is_a_reader(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The job stops after its canary; `reread` and the job's end send nothing of it again."""
    server = UnknownShape()

    stopped = play(server, tmp_path, rows=1_020, chunk=500)
    again = play(server, tmp_path, chunk=500, again=True)

    assert isinstance(stopped.error, JobNeedsDecision)
    assert isinstance(again.error, JobNeedsDecision)
    assert (len(server.batches), sum(stopped.paid)) == (1, 20)
    job_id = str(stopped.status["job_id"])
    assert stopped.status["decision"] == "unreadable"
    for told in ("custom_id", "ref {row (text)}", "reply {said (text)}", "raw/", f"orchestrator reread {job_id}"):
        assert told in stopped.told
    assert text_for("Q<row 0>") not in stopped.told
    audited(stopped)
    assert open_job(job_id, work=stopped.work).reread() == Reading(unreadable=20)

    request.getfixturevalue("better")
    assert any("20 rows can be read now" in note for note in audited(stopped).notes)
    assert open_job(job_id, work=stopped.work).reread() == Reading(read=20, is_released=True)
    done = play(server, tmp_path, chunk=500, again=True)

    assert (done.is_clean, len(server.batches)) == (True, 3)
    assert Decimal(str(done.status["cost_usd"])) == Decimal("0.0102")
    audited(done)


@pytest.mark.slow
def test_after_an_approval_the_job_is_finished_and_its_output_made_anew_once_it_can_be_read(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Approved once, it does not ask again; `retry` does not buy what is only unread; the ledger may be lost."""
    server = UnknownShape()
    first = play(server, tmp_path, rows=12)
    handle = open_job(str(first.status["job_id"]), work=first.work)

    handle.approve()
    ended = play(server, tmp_path, rows=12, again=True)

    assert ended.failed_codes == {"unreadable": 12}
    assert ended.paid == [1] * 12
    with pytest.raises(ConfigError, match="reread"):
        handle.retry()
    request.getfixturevalue("better")
    assert handle.reread() == Reading(read=12, is_reopened=True)
    result = handle.results()
    assert (result.counts["succeeded"], Path(result.path).name) == (12, "output-revision-2")
    assert server.counts["creates"] == len(server.batches) == 2
    audited(ended)

    _lose_the_ledger(first.work)
    orchestrator.recover(work=first.work)
    assert handle.status().totals.succeeded == 12
    audited(ended)


def _lose_the_ledger(work: Path) -> None:
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (work / name).unlink(missing_ok=True)
    with sqlite3.connect(work / "ledger.db"):
        pass


def test_a_few_lines_that_cannot_be_read_stop_no_job_and_can_be_read_later(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = UnknownShape(known=5)
    ended = play(server, tmp_path, rows=12)

    assert ended.failed == {5: "unreadable", 11: "unreadable"}
    assert max(ended.paid) == 1
    request.getfixturevalue("better")
    handle = open_job(str(ended.status["job_id"]), work=ended.work)
    assert handle.reread() == Reading(read=2, is_reopened=True)
    assert handle.results().counts["succeeded"] == 12
    assert handle.reread() == Reading()
    audited(ended)


class LastsLonger(UnknownShape):
    """The first batch ends at once; the others, which are already sent, end a few looks later."""

    def look(self, batch_id: str) -> Any:
        batch = self.batches[batch_id]
        if batch_id != "batch_0001" and batch.looks < 8:
            batch.looks += 1
            return self.object(batch, "IN_PROGRESS", progress="10%")
        return super().look(batch_id)


def test_a_run_that_stops_for_a_decision_first_collects_what_is_in_flight(tmp_path: Path) -> None:
    """Their answers are paid for, and a part of what is decided on; nothing more is sent."""
    server = LastsLonger()

    seen = play(server, tmp_path, rows=18, policy={"canary_rows": 0, "chunk_requests_max": 6})

    assert isinstance(seen.error, JobNeedsDecision)
    assert seen.status["chunks"].get("submitted", 0) == seen.status["chunks"].get("ended", 0) == 0, seen.status
    assert seen.status["chunks"]["collected"] == server.counts["creates"] == 3
    assert max(seen.paid) == 1


class OtherIds(OneRouterServer):
    """Every line names its row by an id that was not sent."""

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        return [(name, line | {"custom_id": f"req-{place}"}) for name, line in super().answer(request, place)]


def test_lines_with_other_ids_stop_the_job_and_the_reason_says_so(tmp_path: Path) -> None:
    seen = play(OtherIds(), tmp_path, rows=6)

    assert isinstance(seen.error, JobNeedsDecision)
    assert sum(seen.paid) == 6
    assert "custom_id (text)" in seen.told
    assert "the id in it is of no row of this batch" in seen.told


class BodyAsText(OpenAIServer):
    """`response.body` is the completion as JSON text."""

    def completion(self, request: Request, **more: Any) -> Any:
        return json.dumps(super().completion(request, **more))


class OfGemini(OneRouterServer):
    """Lines in Gemini's file form, as a gateway passes them through: the id is in `key`."""

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:  # noqa: ARG002 - of the base
        self.pay(request)
        content = {"role": "model", "parts": [{"text": text_for(request.prompt)}]}
        return [("output", {"key": request.custom_id, "response": {"candidates": [{"content": content}]}})]


class InTheStatus(OneRouterServer):
    """The GET of an ended batch holds the results."""

    def finished(self, batch: Batch) -> Object:
        lines = [json.loads(line) for line in batch.files["output"].splitlines()]
        items = [{"custom_id": line["custom_id"], "response": line["response"]} for line in lines]
        return {"id": batch.id, "status": "completed", "results": items}


class AnArray(OneRouterServer):
    """The results at the URL are one JSON array, spread over many lines."""

    def content(self, batch_id: str) -> Any:
        lines = [json.loads(line) for line in self.batches[batch_id].files["output"].splitlines()]
        return Reply(json.dumps(lines, indent=2))


class ArrayOfTheBatch(OneRouterServer):
    """The GET of an ended batch is the array of its results."""

    def finished(self, batch: Batch) -> Any:
        return [json.loads(line) for line in batch.files["output"].splitlines()]


class LateFile(OpenAIServer):
    """The batch is completed, and names no file for a while."""

    late = 3

    def finished(self, batch: Batch) -> Object:
        shown = super().finished(batch)
        return shown if batch.looks > 2 + self.late else shown | {"output_file_id": None}


class EmptyAtFirst(OneRouterServer):
    """The result file is empty at first."""

    def content(self, batch_id: str) -> Any:
        full = super().content(batch_id)
        return full if self.counts["downloads"] > 2 else Reply(b"")


class NotThereAtFirst(OneRouterServer):
    """The result file is not there at first."""

    def content(self, batch_id: str) -> Any:
        full = super().content(batch_id)
        return full if self.counts["downloads"] > 2 else Reply({"error": {"message": "no such key"}}, 404)


class AcceptedAtFirst(OpenAIServer):
    """The file is answered with 202 and a word at first."""

    def content(self, file_id: str) -> Any:
        full = super().content(file_id)
        return full if self.counts["downloads"] > 2 else Reply({"status": "processing"}, 202)


class EnvelopedDone(OneRouterServer):
    """Every status is in new-api's envelope, and its words are others; beside each answer is an error of empty fields.

    Source: QuantumNous/new-api, dto/task.go (`{"code": "success", "message": "", "data": {…}}`).
    """

    def look(self, batch_id: str) -> Any:
        shown = super().look(batch_id)
        if shown.get("status") == "SUCCESS":
            shown = shown | {"status": "SUCCEEDED"}
        return {"code": "success", "message": "", "data": shown}

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        return [
            (name, line | {"error": {"code": "", "message": "", "param": None}})
            for name, line in super().answer(request, place)
        ]


class Stored(OpenAIServer):
    """The result files are stored compressed, and come as they are, without a word of it."""

    def content(self, file_id: str) -> Any:
        found = super().content(file_id)
        is_odd = self.counts["downloads"] % 2
        return Reply(gzip.compress(found.body) if is_odd else zstandard.compress(found.body), 200, found.headers)


class Lists(OpenAIServer):
    """Several output files, named in a list."""

    def finished(self, batch: Batch) -> Object:
        shown = super().finished(batch)
        if shown["output_file_id"] is None:
            return shown
        lines = batch.files["output"].splitlines(keepends=True)
        names = [f"file-{batch.id}-{number}" for number in range(2)]
        self.files |= {name: (name, b"".join(lines[number::2])) for number, name in enumerate(names)}
        return shown | {"output_file_id": None, "output_file_ids": names}


SLOW = (
    BodyAsText,
    InTheStatus,
    EnvelopedDone,
    Lists,
    OfGemini,
    AcceptedAtFirst,
    AnArray,
    ArrayOfTheBatch,
    EmptyAtFirst,
    NotThereAtFirst,
)


@pytest.mark.parametrize(
    "server",
    [
        LateFile,
        *(pytest.param(one, marks=pytest.mark.slow) for one in (Stored, *SLOW)),
    ],
)
def test_results_in_another_form_or_later_are_all_read_and_none_is_bought_twice(
    server: type[OneRouterServer | OpenAIServer], tmp_path: Path
) -> None:
    seen = play(server(), tmp_path, rows=6)

    assert seen.is_clean, seen.told
    audited(seen)
