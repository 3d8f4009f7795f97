"""Creates that are answered oddly, ids of any form, and places of results: whole jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import JobNeedsDecision, JobStopped, open_job
from orchestrator.domain.errors import CommandRefused
from tests.reports.play import play
from tests.reports.server import Batch, Object, OneRouterServer, OpenAIServer, Reply, Request, refusal


class PlainBatch(OneRouterServer):
    """A create is answered with a plain batch object, as in SIRAYA's quickstart."""

    def create(self, wanted: Object) -> Any:
        made = super().create(wanted)
        return {"id": made["batch_id"], "object": "batch", "status": "pending", "created_at": 1}


class Enveloped(OneRouterServer):
    """A create is answered in the envelope of many Chinese platforms."""

    def create(self, wanted: Object) -> Any:
        return {"code": 0, "message": "ok", "data": {"id": super().create(wanted)["batch_id"], "status": "queued"}}


class LongIds(OpenAIServer):
    """Batch ids of 320 characters (BerriAI/litellm#10711, #16733)."""

    def accept(self, requests: list[Request], **more: Any) -> Batch:
        batch = super().accept(requests, **more)
        self.batches[f"{batch.id}{'bGl0ZWxsbV9wcm94eTs' * 18}"[:320]] = self.batches.pop(batch.id)
        batch.id = next(reversed(self.batches))
        return batch


class NoSize(OpenAIServer):
    """The file object of every upload says `bytes: 0` (BerriAI/litellm#36388)."""

    def upload(self, name: str, content: bytes) -> Any:
        return super().upload(name, content) | {"bytes": 0}


class Moved(OneRouterServer):
    """The result URL is relative, and is answered with a redirect to the object."""

    def result_url(self, batch: Batch) -> str:
        return f"/resource/batch-llm/moved%2F{batch.id}.jsonl"

    def reply(self, method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
        if "/moved%2F" in path:
            return Reply(b"", 302, {"Location": path.replace("moved%2F", "azure-batch%2F")})
        return super().reply(method, path, query, headers, body)


class BothForms(OneRouterServer):
    """The GET of an ended batch is a status without a URL and the result lines, in turn."""

    def look(self, batch_id: str) -> Any:
        found = super().look(batch_id)
        if not isinstance(found, dict) or found["status"] != "SUCCESS":
            return found
        is_turn = self.batches[batch_id].looks % 2 == 0
        return self.content(batch_id) if is_turn else found | {"result_url": ""}


@pytest.mark.parametrize(
    "server",
    [
        LongIds,
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in (PlainBatch, Moved, Enveloped, NoSize, BothForms)),
    ],
)
def test_what_can_be_understood_with_certainty_costs_no_row(
    server: type[OneRouterServer | OpenAIServer], tmp_path: Path
) -> None:
    seen = play(server(), tmp_path)

    assert seen.is_clean, seen.told


class Ticket(OneRouterServer):
    """A create is answered with an id that may be anything's; from the third one on as documented."""

    def create(self, wanted: Object) -> Any:
        made = super().create(wanted)
        is_odd = self.counts["creates"] <= 2
        return {"ok": True, "ticket": made["batch_id"], "handle": {"uuid": made["batch_id"]}} if is_odd else made


@pytest.mark.slow
def test_a_create_that_is_not_understood_is_kept_and_a_person_goes_on_with_it_for_nothing(tmp_path: Path) -> None:
    """Nothing more is created, the id in the answer is offered, and no answer is paid for twice."""
    server = Ticket()
    policy = {"batches_in_flight_max": 1}

    stopped = play(server, tmp_path, rows=18, policy=policy)

    assert isinstance(stopped.error, JobNeedsDecision)
    assert server.counts["creates"] == 1
    assert f"POST {server.url}/v1/batches was answered with HTTP 200" in stopped.told
    assert "its fields: ok, ticket, handle.uuid" in stopped.told
    assert "orchestrator resolve report-" in stopped.told
    assert "orchestrator approve report-" in stopped.told
    job = open_job(stopped.status["job_id"], work=stopped.work)
    [chunk] = job.unresolved()
    assert chunk.ids == ("batch_0001",)
    kept = Path(chunk.reason.rpartition("all of it: ")[2])
    assert json.loads(kept.read_text().partition("\n\n")[2])["ticket"] == "batch_0001"

    job.resolve_created(chunk.chunk, chunk.ids[0])
    job.approve()
    again = play(server, tmp_path, again=True, policy=policy)
    assert isinstance(again.error, JobNeedsDecision)  # the second one is no clearer
    [chunk] = job.unresolved()
    job.resolve_created(chunk.chunk, "batch_0002")
    job.approve()
    seen = play(server, tmp_path, again=True, policy=policy)

    assert seen.is_clean, seen.told
    assert server.counts["creates"] == 3


class Website(OneRouterServer):
    """base_url names another server: it has no batches, and says so with a page."""

    def create(self, wanted: Object) -> Any:  # noqa: ARG002
        return Reply("<!DOCTYPE html><title>Welcome</title>", 404)


def test_a_wrong_base_url_is_asked_about_after_one_call(tmp_path: Path) -> None:
    server = Website()

    seen = play(server, tmp_path, policy={"batches_in_flight_max": 1})

    assert isinstance(seen.error, JobStopped)
    assert f"POST {server.url}/v1/batches was answered with HTTP 404" in seen.told
    assert "Is base_url right?" in seen.told
    assert server.calls.count("POST /v1/batches") == 1


class Unlisted(OpenAIServer):
    """The answer to the first create is lost, and the key may not list batches."""

    def create(self, wanted: Object) -> Any:
        found = super().create(wanted)
        return Reply("upstream timed out", 504) if self.counts["creates"] == 1 else found

    def listed(self) -> Any:
        self.counts["lists"] += 1
        return refusal(403, "Missing scopes: api.batch.read.", code="missing_scope")


@pytest.mark.slow
def test_a_list_that_is_forbidden_is_told_while_it_is_asked_again_and_a_permission_settles_it(tmp_path: Path) -> None:
    """The create is not sent again; with the permission the batch is found, by running the job again."""
    server = Unlisted()

    waiting = play(server, tmp_path, rows=6, until=lambda: server.counts["lists"] > 1)

    assert server.counts["creates"] == 1
    assert "after: HTTP 504" in waiting.told
    assert "; whether it made a batch cannot be found out: HTTP 403: missing_scope" in waiting.told
    assert waiting.status["troubles"][0]["chunks"] == 1
    assert waiting.status["troubles"][0]["since"] is not None

    server.listed = lambda: OpenAIServer.listed(server)  # type: ignore[method-assign]
    seen = play(server, tmp_path, again=True)
    assert seen.is_clean, seen.told


class Broken(OpenAIServer):
    """Every create is answered 500, and makes nothing (litellm#23901)."""

    def create(self, wanted: Object) -> Any:  # noqa: ARG002
        self.counts["posts"] += 1
        return Reply("Internal Server Error", 500)


@pytest.mark.slow
def test_creates_that_make_nothing_say_so_and_become_rare(tmp_path: Path) -> None:
    server = Broken()

    options = {"create_s_max": 1, "list_lag_s": 0}
    seen = play(server, tmp_path, rows=6, options=options, until=lambda: server.counts["posts"] > 3)

    since = seen.status["troubles"][0]["since"]
    assert since is not None
    assert "HTTP 500" in seen.told
    assert max(seen.paid) == 0


class Repeated(OneRouterServer):
    """A cache in front of the provider answers every create with the first answer; the provider sees one create."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Any = None

    def create(self, wanted: Object) -> Any:
        self.first = self.first or super().create(wanted)
        return self.first


class TakenForOne(OpenAIServer):
    """The provider makes one batch of the first two creates, and shows only that one."""

    def create(self, wanted: Object) -> Any:
        if self.counts["creates"] == 1 and self.counts["repeats"] == 0:
            self.counts["repeats"] += 1
            return self.shown(self.batches["batch_0001"])
        return super().create(wanted)


class Hidden(OpenAIServer):
    """The second create makes a batch of its own, and is answered with the first one's."""

    def create(self, wanted: Object) -> Any:
        made = super().create(wanted)
        return self.shown(self.batches["batch_0001"]) if self.counts["creates"] == 2 else made


ONE_BATCH = {"batches_in_flight_max": 1}


def test_a_batch_that_is_another_chunks_is_a_create_that_was_not_understood(tmp_path: Path) -> None:
    """No row gets an answer of another chunk, the person is told which batch came twice, and goes on."""
    server = Repeated()

    stopped = play(server, tmp_path, policy=ONE_BATCH)

    assert isinstance(stopped.error, JobNeedsDecision)
    assert "the create was answered with batch batch_0001, which is that of chunk report-" in stopped.told
    assert "orchestrator resolve report-" in stopped.told
    job = open_job(stopped.status["job_id"], work=stopped.work)
    [chunk] = job.unresolved()
    assert chunk.ids == ()  # the other chunk's batch is not offered
    with pytest.raises(CommandRefused, match="was made from chunk report-"):
        job.resolve_created(chunk.chunk, "batch_0001")
    server.create = lambda wanted: OneRouterServer.create(server, wanted)  # type: ignore[method-assign]
    job.resolve_absent(chunk.chunk)
    job.approve()
    seen = play(server, tmp_path, again=True, policy=ONE_BATCH)
    assert seen.is_clean, seen.told
    assert server.counts["creates"] == 2


@pytest.mark.slow
def test_a_second_job_is_not_given_the_batch_of_the_first(tmp_path: Path) -> None:
    """Nothing of the first is in the way of it once a person has looked."""
    server = Repeated()
    shown, server.shown = server.shown, lambda batch: server.object(batch, "IN_PROGRESS")  # type: ignore[method-assign]
    first = play(server, tmp_path, rows=6, until=lambda: server.counts["looks"] > 0)
    assert first.error is not None

    second = play(server, tmp_path, again=True, name="second")

    assert isinstance(second.error, JobNeedsDecision)
    assert "which is that of chunk report-" in second.told
    server.shown = shown  # type: ignore[method-assign]
    assert play(server, tmp_path, rows=6, again=True).is_clean


@pytest.mark.slow
def test_a_second_job_is_not_given_the_batch_of_one_that_has_ended(tmp_path: Path) -> None:
    """Its rows would come back missing, and be paid for twice. A person looks, and says that there is no batch."""
    server = Repeated()
    assert play(server, tmp_path, rows=6).is_clean

    second = play(server, tmp_path, again=True, name="second")

    assert isinstance(second.error, JobNeedsDecision)
    assert "answered with batch batch_0001, which is that of chunk report-" in second.told
    assert "orchestrator resolve second-" in second.told
    job = open_job(str(second.status["job_id"]), work=second.work)
    [chunk] = job.unresolved()
    with pytest.raises(CommandRefused, match=r"was made from chunk report-.* \(--absent\)"):
        job.resolve_created(chunk.chunk, "batch_0001")
    server.create = lambda wanted: OneRouterServer.create(server, wanted)  # type: ignore[method-assign]
    job.resolve_absent(chunk.chunk)
    job.approve()
    assert play(server, tmp_path, again=True, name="second", policy={"reuse": "never"}).error is None
    assert server.counts["creates"] == 2
    assert set(server.paid.values()) == {2}  # once for each job


@pytest.mark.slow
def test_a_server_elsewhere_may_count_its_batches_anew(tmp_path: Path) -> None:
    assert play(OneRouterServer(), tmp_path, rows=6).is_clean

    assert play(OneRouterServer(), tmp_path, again=True, name="second").is_clean


@pytest.mark.slow
@pytest.mark.parametrize("server", [TakenForOne, Hidden])
def test_where_there_is_a_list_it_says_what_the_second_create_made(server: type[OpenAIServer], tmp_path: Path) -> None:
    """A batch of its own is found by its mark; where there is none, a person approves of another create."""
    made = server()

    seen = play(made, tmp_path, policy=ONE_BATCH)

    if server is TakenForOne:
        assert isinstance(seen.error, JobNeedsDecision), seen.told
        assert "the create made no batch" in seen.told
        assert made.counts["creates"] == 1
        open_job(seen.status["job_id"], work=seen.work).approve()
        seen = play(made, tmp_path, policy=ONE_BATCH, again=True)
    assert seen.is_clean, seen.told
    assert made.counts["creates"] == 2


class NoCredit(OpenAIServer):
    """No credit until somebody tops up; every create takes a while, so that others would come beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_credit = False
        self.posts = 0

    def create(self, wanted: Object) -> Any:
        self.posts += 1
        if self.has_credit:
            return super().create(wanted)
        return refusal(429, "You exceeded your current quota.", code="insufficient_quota")


@pytest.mark.slow
def test_after_a_pause_one_create_is_tried_alone(tmp_path: Path) -> None:
    """Twelve chunks, eight threads: without credit one call, with credit one call and then the rest."""
    server = NoCredit()
    policy = {"batches_in_flight_max": 12, "canary_rows": 0}
    first = play(server, tmp_path, rows=12, chunk=1, policy=policy, until=lambda: server.posts > 0)
    assert first.error is not None
    before = server.posts
    uploads = server.counts["uploads"]

    paused = play(server, tmp_path, chunk=1, policy=policy, again=True, until=lambda: server.posts > before)

    assert paused.error is not None
    assert server.posts == before + 1
    assert server.counts["uploads"] == uploads  # the file of the create that was refused
    server.has_credit = True
    seen = play(server, tmp_path, chunk=1, policy=policy, again=True)
    assert seen.is_clean, seen.told
    assert server.posts == before + 1 + 12


class RepeatedToAll(OpenAIServer):
    """All creates at once are answered with one batch, and each has made one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Any = None

    def create(self, wanted: Object) -> Any:
        made = super().create(wanted)
        self.first = self.first or made
        return self.first


@pytest.mark.slow
def test_of_many_creates_with_one_answer_each_finds_its_own_batch(tmp_path: Path) -> None:
    """Whichever answer is recorded first: the mark says whose batch it is."""
    server = RepeatedToAll()

    seen = play(server, tmp_path, rows=12, chunk=2)

    assert seen.is_clean, seen.told
    assert server.counts["creates"] == 6
