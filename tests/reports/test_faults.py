"""Whose fault a failure is, in whole jobs: no row pays for the account, the platform or the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import JobStopped
from tests.reports.play import play
from tests.reports.server import (
    Batch,
    Object,
    OneRouterServer,
    OpenAIServer,
    Request,
    failed_line,
    refusal,
    text_for,
)

QUOTA = "You exceeded your current quota, please check your plan and billing details."
ONE_AT_A_TIME = {"batches_in_flight_max": 1}


class CreditRunsOut(OpenAIServer):
    """Source: OpenAI help 6891831: after the credit is used up, requests of a running batch answer 429."""

    credit = 4

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        if self.paid.total() >= self.credit:
            return [failed_line(request.custom_id, 429, QUOTA, code="insufficient_quota")]
        return super().answer(request, place)


@pytest.mark.slow
def test_rows_that_cannot_be_paid_for_wait_for_credit_and_lose_no_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one try for a row: those that were refused are sent again all the same, once there is credit.

    A batch that was refused for it ends in the second run, and pauses the account once more: the run goes on by itself.
    """
    server = CreditRunsOut()
    policy = {"attempts_max": 1, **ONE_AT_A_TIME}
    seen = play(server, tmp_path, policy=policy, until=lambda: server.counts["deletes"] > 0)
    assert seen.status["failed"] == 0
    assert "insufficient_quota" in seen.told
    assert "Next: add credit" in seen.told
    assert "next try" in seen.told

    server.credit = 1_000
    monkeypatch.setattr("orchestrator.domain.refusal.ACCOUNT_PAUSE_S", 0.5)
    done = play(server, tmp_path, policy=policy, again=True)

    assert done.is_clean
    assert server.counts["creates"] <= 4


class BillingLimit(OpenAIServer):
    """Source: community.openai.com/t/74856: HTTP 400 with the code billing_hard_limit_reached."""

    is_reached = True

    def create(self, wanted: Object) -> Any:
        if self.is_reached and self.counts["creates"]:
            return refusal(400, "Billing hard limit has been reached", code="billing_hard_limit_reached")
        return super().create(wanted)


@pytest.mark.slow
def test_a_spend_limit_pauses_the_account_until_it_is_raised(tmp_path: Path) -> None:
    server = BillingLimit()
    seen = play(server, tmp_path, policy=ONE_AT_A_TIME, until=lambda: server.counts["refused"] > 0)
    assert (seen.status["failed"], server.counts["refused"]) == (0, 1)
    assert "Billing hard limit has been reached" in seen.told

    server.is_reached = False
    assert play(server, tmp_path, policy=ONE_AT_A_TIME, again=True).is_clean


BAD = {"code": "missing_required_parameter", "message": "Missing required parameter.", "param": "body.messages"}


class BadLines(OpenAIServer):
    """Source: answers of OpenAI printed in public repositories: one bad line fails the whole batch in validation."""

    bad = (3, 7)
    told_max = 1  # only the first errors are reported

    def fails(self, batch: Batch) -> list[Object]:
        prompts = {f"Q<row {number}>" for number in self.bad}
        lines = [place for place, request in enumerate(batch.requests, 1) if request.prompt in prompts]
        return [{**BAD, "line": line} for line in lines[: self.told_max]]


def test_bad_lines_fail_alone_though_only_the_first_is_told(tmp_path: Path) -> None:
    server = BadLines()
    seen = play(server, tmp_path, rows=20, chunk=10)

    assert seen.failed == {3: "missing_required_parameter", 7: "missing_required_parameter"}
    assert len(seen.right) == 18
    assert max(seen.paid) == 1
    assert server.counts["creates"] <= 8


class OffByOne(BadLines):
    """Lines counted from 0 where we count from 1: the row before the bad one is named."""

    def fails(self, batch: Batch) -> list[Object]:
        return [error | {"line": error["line"] + 1} for error in super().fails(batch)]


@pytest.mark.slow
def test_a_line_that_is_counted_otherwise_costs_creates_and_no_answer(tmp_path: Path) -> None:
    server = OffByOne()
    seen = play(server, tmp_path, rows=20, chunk=10)

    assert set(seen.failed) == {3, 7}
    assert len(seen.right) == 18
    assert max(seen.paid) == 1


class RefusesInline(OneRouterServer):
    """Source: Anthropic's and OpenRouter's documentation: one bad request refuses the whole create."""

    says = "requests.%d.params.messages.0: text content blocks must be non-empty"

    def create(self, wanted: Object) -> Any:
        for place, one in enumerate(wanted["requests"]):
            if Request(one["custom_id"], one["params"]).prompt == "Q<row 13>":
                return refusal(400, self.says % place if "%d" in self.says else self.says)
        return super().create(wanted)


class RefusesUnnamed(RefusesInline):
    """The same, without an index."""

    says = "a message of the batch is not acceptable"


@pytest.mark.parametrize("server", [RefusesInline, pytest.param(RefusesUnnamed, marks=pytest.mark.slow)])
def test_a_create_that_is_refused_for_one_request_fails_that_one(server: type[RefusesInline], tmp_path: Path) -> None:
    provider = server()
    seen = play(provider, tmp_path, rows=30, chunk=10, policy=ONE_AT_A_TIME)

    assert seen.failed == {13: "400"}
    assert len(seen.right) == 29
    assert max(seen.paid) == 1
    assert provider.counts["refused"] <= 10


class NoBatchModel(OpenAIServer):
    """Source: openai-python#3071, xai-sdk-python#176."""

    def fails(self, batch: Batch) -> list[Object]:  # noqa: ARG002 - of the base
        message = "The provided model 'gpt-6-pro' is not supported by the Batch API."
        return [{"code": "model_not_found", "message": message, "param": "body.model", "line": 1}]


@pytest.mark.slow
def test_a_model_without_batches_stops_the_job_and_fails_no_row(tmp_path: Path) -> None:
    server = NoBatchModel()
    seen = play(server, tmp_path, rows=24, policy=ONE_AT_A_TIME)

    assert isinstance(seen.error, JobStopped)
    assert (seen.status["failed"], server.counts["creates"]) == (0, 1)
    assert "model_not_found" in seen.told
    assert "request.model" in seen.told


class LosesAFile(OpenAIServer):
    """Source: bespokelabsai/curator#116."""

    lost = 0

    def create(self, wanted: Object) -> Any:
        self.lost += 1
        if self.lost in (2, 3):
            return refusal(400, f"Cannot find file {wanted['input_file_id']}, or project p does not have access to it.")
        return super().create(wanted)


class LosesAFileLate(OpenAIServer):
    """The same, told when the batch is validated."""

    def fails(self, batch: Batch) -> list[Object]:
        if batch.id in ("batch_0002", "batch_0003"):
            return [{"code": None, "message": f"Cannot find file {batch.input_file}.", "param": None, "line": None}]
        return []


@pytest.mark.parametrize("server", [LosesAFile, pytest.param(LosesAFileLate, marks=pytest.mark.slow)])
def test_a_file_that_the_provider_cannot_find_is_uploaded_again_and_costs_no_try(
    server: type[OpenAIServer], tmp_path: Path
) -> None:
    seen = play(server(), tmp_path, policy={"attempts_max": 1, **ONE_AT_A_TIME})

    assert seen.is_clean


class SmallQueue(OpenAIServer):
    """Source: openai-python#2084: Azure and OpenAI refuse what exceeds the queue, and name its limit."""

    requests_max = 6

    def create(self, wanted: Object) -> Any:
        running = sum(len(batch.requests) for batch in self.batches.values() if batch.looks < 2)
        lines = self.files[wanted["input_file_id"]][1].count(b"\n")
        if running + lines > self.requests_max:
            return refusal(400, "Enqueued token limit reached for gpt-4o-mini.", code="token_limit_exceeded")
        return super().create(wanted)


@pytest.mark.slow
def test_a_full_queue_is_learned_and_what_never_fits_is_halved(tmp_path: Path) -> None:
    """Chunks of twelve requests, a queue of six: every row is answered once, and the provider is not besieged."""
    server = SmallQueue()
    seen = play(server, tmp_path, rows=24, chunk=12)

    assert seen.is_clean
    assert server.counts["refused"] <= 16


class TimesOut(OpenAIServer):
    """Source: the types of openai 3.57.0: BatchRequestOutputError, request_timeout."""

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        if place < 3 and self.sent[request.prompt] == 1:
            error = {"code": "request_timeout", "message": "The underlying call to the model timed out."}
            return [("error", {"id": "x", "custom_id": request.custom_id, "response": None, "error": error})]
        return super().answer(request, place)


@pytest.mark.slow
def test_requests_that_timed_out_are_sent_again(tmp_path: Path) -> None:
    seen = play(TimesOut(), tmp_path)

    assert seen.is_clean
    assert seen.rows[0]["llm_response"] == text_for("Q<row 0>")
