"""Input files that are not ready when the create names them: whole jobs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator import JobStopped
from tests.reports.play import play
from tests.reports.server import Batch, Object, OpenAIServer, Reply, refusal


class Slow(OpenAIServer):
    """A file is processed for a while after it was uploaded, and no batch is made of it before (openai-python#1501)."""

    refusals = 2

    def __init__(self) -> None:
        super().__init__()
        self.named: Counter[str] = Counter()

    def create(self, wanted: Object) -> Any:
        file_id = wanted["input_file_id"]
        self.named[file_id] += 1
        return super().create(wanted) if self.is_ready(file_id) else self.not_ready(file_id)

    def is_ready(self, file_id: str) -> bool:
        return self.named[file_id] > self.refusals

    def not_ready(self, file_id: str) -> Any:
        return refusal(400, f"File {file_id} is still being processed.")

    def file_object(self, file_id: str) -> Object:
        return super().file_object(file_id) | {"status": "processed" if self.is_ready(file_id) else "pending"}


class Conflict(Slow):
    def not_ready(self, file_id: str) -> Any:  # noqa: ARG002
        return refusal(409, "File is not ready", code="file_not_ready")


class Wordless(Slow):
    """Only the file object says why."""

    def not_ready(self, file_id: str) -> Any:  # noqa: ARG002
        return refusal(400, "Invalid request.")


class Uploaded(Wordless):
    """The file is `uploaded` until it is `processed`."""

    def file_object(self, file_id: str) -> Object:
        is_ready = self.is_ready(file_id)
        return super().file_object(file_id) | {"status": "processed" if is_ready else "uploaded"}


class NotFoundYet(Slow):
    """The batches see a file later than the files do; there is no GET of a file."""

    def not_ready(self, file_id: str) -> Any:
        return refusal(404, f"No such File object: {file_id}")

    def reply(self, method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
        if method == "GET" and "/files/" in path and not path.endswith("/content"):
            return Reply("404 page not found", 404)
        return super().reply(method, path, query, headers, body)


class TooEarly(Slow):
    def not_ready(self, file_id: str) -> Any:  # noqa: ARG002
        return Reply({"detail": "The file status is not processed"}, 425)


class Busy(Slow):
    """No word of the file: the account may create later."""

    refusals = 1

    def not_ready(self, file_id: str) -> Any:  # noqa: ARG002
        return Reply({"error": {"message": "Slow down"}}, 429, {"Retry-After": "1"})


@pytest.mark.parametrize(
    "server",
    [Slow, *(pytest.param(kind, marks=pytest.mark.slow) for kind in Slow.__subclasses__()), Uploaded],
)
def test_a_create_that_comes_too_early_is_sent_again_with_the_same_file(server: type[Slow], tmp_path: Path) -> None:
    slow = server()

    seen = play(slow, tmp_path)

    assert seen.is_clean, seen.told
    assert slow.counts["uploads"] == slow.counts["creates"] == 2
    assert [row["llm_attempts"] for row in seen.rows] == [1] * 12


class SameFile(OpenAIServer):
    """A cache on the way answers every upload with the first answer, until somebody turns it off."""

    is_cached = True

    def upload(self, name: str, content: bytes) -> Any:
        made = super().upload(name, content)
        return self.file_object("file-0001") if self.is_cached else made

    def shown(self, batch: Batch) -> Object:
        counts = {"total": len(batch.requests), "completed": 0, "failed": 0}
        return self.object(batch, "in_progress", counts) if self.is_cached else super().shown(batch)


@pytest.mark.slow
def test_a_file_that_is_another_chunks_is_not_sent(tmp_path: Path) -> None:
    """Its rows would be paid for a second time, and the chunk's own would stay without an answer."""
    server = SameFile()

    stopped = play(server, tmp_path, rows=8, chunk=4, policy={"batches_in_flight_max": 2})

    assert isinstance(stopped.error, JobStopped), stopped.told
    assert f"POST {server.url}/v1/files was answered with the file of another upload" in stopped.told
    assert max(stopped.paid) <= 1
    server.is_cached = False
    seen = play(server, tmp_path, chunk=4, policy={"batches_in_flight_max": 2}, again=True)
    assert seen.is_clean, seen.told
