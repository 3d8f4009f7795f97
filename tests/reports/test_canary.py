"""The canary of a whole job: a job that every row would fail in the same way costs a few rows, not all of them.

What these providers do: a batch is `completed` and every request of it is in the error file
(ProjectTech4DevAI/kaapi-backend#723); a limit of output tokens is used up by reasoning, so that every answer is cut off
or empty, and paid for (BerriAI/litellm-docs#559, The-PR-Agent/pr-agent#2631).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import JobNeedsDecision, open_job
from tests.reports.play import Seen, play
from tests.reports.server import Batch, Object, OneRouterServer, OpenAIServer, Request, failed_line
from tests.tiers import sampled

ROWS = 2_000


class NoSuchModel(OpenAIServer):
    """Every row is refused, until the account gets the model."""

    is_granted = False

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        if self.is_granted:
            return super().answer(request, place)
        return [failed_line(request.custom_id, 404, f"no model for {request.prompt}", code="model_not_found")]


class Alike(OneRouterServer):
    """Every answer has the same flaw."""

    def __init__(self, finish_reason: str, text: str) -> None:
        super().__init__()
        self._flaw = {"finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}

    def completion(self, request: Request, **more: Any) -> Object:
        return super().completion(request, choices=[{"index": 0, **self._flaw}], **more)


class FirstExpires(OneRouterServer):
    """The first batch expires before anything in it is answered."""

    def run(self, batch: Batch) -> None:
        if len(self.batches) > 1:
            super().run(batch)

    def finished(self, batch: Batch) -> Object:
        if batch.id == "batch_0001":
            return self.object(batch, "EXPIRED")
        return super().finished(batch)


def sent_before(server: OpenAIServer | OneRouterServer) -> Callable[[], bool]:
    """Return whether more than the canary has been sent: then there is no need to wait for the end."""
    return lambda: server.sent.total() > 20


def waits(seen: Seen) -> str:
    """Return the reason of a job that waits for a decision about its canary."""
    assert isinstance(seen.error, JobNeedsDecision)
    assert seen.status["decision"] == "canary"
    return str(seen.status["reason"])


@pytest.mark.slow
def test_a_model_that_refuses_every_row_costs_twenty_rows_and_an_approval_sends_the_rest(tmp_path: Path) -> None:
    """2,000 rows: 20 are sent, the job stops, says why, and shows three of them; nothing of a row is in the ledger."""
    server = NoSuchModel()
    seen = play(server, tmp_path, rows=ROWS, chunk=500)

    assert waits(seen) == "all 20 rows of the canary failed, all of them with the error code model_not_found"
    assert server.sent.total() == 20
    assert "orchestrator approve" in seen.told
    handle = open_job(seen.status["job_id"], work=seen.work)
    samples = handle.samples()
    assert [(one.row, one.kind, one.error_code) for one in samples] == [
        (n, "failed", "model_not_found") for n in range(3)
    ]
    assert samples[0].error_message == "no model for Q<row 0>"
    assert "row 0" not in repr(samples) + str(seen.error)

    still = play(server, tmp_path, chunk=500, again=True)
    sent = server.sent.total()
    handle.approve()
    server.is_granted = True
    done = play(server, tmp_path, chunk=500, again=True)

    assert (waits(still), sent) == (waits(seen), 20)
    assert len(done.rows) == ROWS
    assert done.right == list(range(20, ROWS))
    assert max(server.sent.values()) == 1
    assert server.counts["creates"] == 5


@pytest.mark.parametrize(
    ("finish_reason", "text", "reason"),
    [
        ("length", "The answer is", "20 of 20 answers of the canary were cut off at the length limit (max_tokens)"),
        pytest.param(
            "length",
            "",
            "20 of 20 answers of the canary were cut off at the length limit (max_tokens)",
            marks=pytest.mark.slow,
        ),
        pytest.param("stop", " ", "20 of 20 answers of the canary came back empty", marks=pytest.mark.slow),
        pytest.param(
            "content_filter",
            "",
            "20 of 20 answers of the canary were refused by the model or its content filter",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_answers_that_are_all_bad_alike_are_bought_twenty_times_only(
    tmp_path: Path, finish_reason: str, text: str, reason: str
) -> None:
    server = Alike(finish_reason, text)

    assert waits(play(server, tmp_path, rows=ROWS, chunk=500, until=sent_before(server))) == reason
    assert server.paid.total() == 20


@pytest.mark.slow
def test_a_canary_whose_batch_expired_is_sent_again_and_then_the_rest(tmp_path: Path) -> None:
    """That is no verdict: the provider was too slow. Nothing but the canary is sent until it has come back."""
    server = FirstExpires()
    seen = play(server, tmp_path, rows=ROWS, chunk=500, policy={"retry_gather_s": 3_600})

    assert seen.is_clean
    assert [len(batch.requests) for batch in server.batches.values()][:2] == [20, 20]
    assert server.sent.total() == ROWS + 20


@pytest.mark.parametrize("what", sampled(["good", "bad", "bad and approved"], quick={"bad"}))
def test_a_lost_ledger_costs_no_second_canary(tmp_path: Path, what: str) -> None:
    """What came back is in the work folder, and so is an approval: nothing is sent, and nobody is asked, twice."""
    server = NoSuchModel()
    server.is_granted = what == "good"
    until = (lambda: bool(server.counts["downloads"])) if what == "good" else None
    first = play(server, tmp_path, rows=ROWS, chunk=500, until=until)
    handle = open_job(first.status["job_id"], work=first.work)
    if what == "bad and approved":
        handle.approve()
        server.is_granted = True
    for path in first.work.glob("ledger.db*"):
        path.unlink()
    orchestrator.recover(work=first.work)
    recovered = orchestrator.audit(handle.job_id, work=first.work)
    seen = play(server, tmp_path, chunk=500, again=True)

    assert recovered.is_clean, recovered.differences
    assert max(server.sent.values()) == 1
    if what == "bad":
        assert waits(seen).startswith("all 20 rows of the canary failed")
        assert server.sent.total() == 20
    else:
        assert len(seen.right) == ROWS - (20 if what == "bad and approved" else 0)
