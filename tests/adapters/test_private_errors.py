"""A provider's own words: kept in a file, named by the error, and never in the way of what was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pytest

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.errors import BadRequest, CreateAmbiguous, CreateRefused, StorageError, Unavailable
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Inline, ResultsAt
from orchestrator.providers.private_errors import FILES_MAX, PrivateErrors, answer_before
from tests.fakes.capabilities import Capabilities
from tests.fakes.job_files import MemoryJobFiles

FOLDER = "work/job"
SAID = "HTTP 400: invalid value: 'a row'"
BATCH = BatchId("b-1")
SUBMISSION = Submission(token=AttemptToken("t"), request_count=1, size_bytes=1, blocks=lambda: iter(()))
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LOST = LostCreate(token=AttemptToken("t"), since=NOON, until=NOON, file_id=FileId("f"), is_other_key=True)
CALLS: dict[str, Any] = {
    "upload": lambda provider: provider.files.upload(SUBMISSION),
    "create": lambda provider: provider.create(SUBMISSION),
    "status": lambda provider: provider.status(BATCH),
    "results": lambda provider: list(provider.results(BATCH, Inline())),
    "cancel": lambda provider: provider.cancel(BATCH),
    "find": lambda provider: provider.batch_list.find(LOST),
    "delete": lambda provider: provider.files.delete(FileId("f")),
}


class Saying(Capabilities):
    """A provider that says one thing, whatever it is asked, and remembers what that was."""

    traits = Traits(name="saying", recovery=Recovery.FENCED)

    def __init__(self, provider_message: Any) -> None:
        self.provider_message = provider_message
        self.asked: list[object] = []

    def _say(self, *asked: object) -> Any:
        self.asked.append(asked)
        if isinstance(self.provider_message, Exception):
            raise self.provider_message
        return self.provider_message

    def upload(self, submission: Submission) -> FileId:
        return FileId(self._say(submission))

    def create(self, submission: Submission) -> BatchId:
        return BatchId(self._say(submission))

    def status(self, batch_id: BatchId) -> BatchStatus:
        status: BatchStatus = self._say(batch_id)
        return status

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        yield from self._say(batch_id, where)

    def cancel(self, batch_id: BatchId) -> None:
        self._say(batch_id)

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        found: Sequence[Listed] = self._say(lost)
        return found

    def delete(self, file_id: FileId) -> None:
        self._say(file_id)

    def state(self, file_id: FileId) -> InputState:
        return InputState(self._say(file_id))


class FullJobFiles(MemoryJobFiles):
    """A disk without room."""

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        raise StorageError(f"{name}: no space left")
        yield  # type: ignore[unreachable]


def kept(provider_message: Any, job_files: MemoryJobFiles) -> PrivateErrors:
    return PrivateErrors(Saying(provider_message), lambda: job_files, FOLDER)


@pytest.mark.parametrize("call", CALLS)
def test_an_error_of_any_call_names_the_file_that_has_the_words(call: str) -> None:
    job_files = MemoryJobFiles()

    with pytest.raises(BadRequest) as caught:
        CALLS[call](kept(BadRequest("HTTP 400: bad_value", status=400, provider_message=SAID), job_files))

    [(name, content)] = job_files.files.items()
    assert name.startswith("provider_messages/")
    assert content.decode() == f"{SAID}\n"
    assert str(caught.value) == f"HTTP 400: bad_value (the provider's message: {FOLDER}/{name})"
    assert (caught.value.status, caught.value.provider_message) == (400, "")


def test_a_refused_create_and_its_error_say_the_same() -> None:
    job_files = MemoryJobFiles()

    with pytest.raises(CreateRefused) as caught:
        kept(CreateRefused(Unavailable("HTTP 503", provider_message=SAID, retry_after_s=3.0)), job_files).create(
            SUBMISSION
        )

    [name] = job_files.files
    assert str(caught.value) == str(caught.value.error) == f"HTTP 503 (the provider's message: {FOLDER}/{name})"
    assert isinstance(caught.value.error, Unavailable)
    assert caught.value.error.retry_after_s == 3.0


def test_an_ambiguous_create_stays_ambiguous_and_names_the_file() -> None:
    job_files = MemoryJobFiles()

    with pytest.raises(CreateAmbiguous) as caught:
        kept(CreateAmbiguous("HTTP 500", provider_message=SAID), job_files).create(SUBMISSION)

    [name] = job_files.files
    assert str(caught.value) == f"HTTP 500 (the provider's message: {FOLDER}/{name})"


def not_understood(answer: bytes) -> CreateAmbiguous:
    return CreateAmbiguous("answered with HTTP 200; its fields: ticket", answer=b"HTTP 200 to POST /v1\n\n" + answer)


def test_an_answer_to_a_create_that_was_not_understood_is_kept_whole_and_can_be_read_again() -> None:
    """Whatever it is, byte for byte, and for each create by itself: there most likely is a batch."""
    job_files = MemoryJobFiles()

    for token, answer in ((AttemptToken("t"), b'{"ticket": {"id": "b7"}}'), (AttemptToken("u"), b"<html>\n\nQ<row 3>")):
        with pytest.raises(CreateAmbiguous) as caught:
            kept(not_understood(answer), job_files).create(replace(SUBMISSION, token=token))
        name = f"provider_messages/create-{token}.txt"
        assert job_files.files[name].endswith(b"\n\n" + answer)
        assert str(caught.value) == f"answered with HTTP 200; its fields: ticket; all of it: {FOLDER}/{name}"

    assert answer_before(job_files, AttemptToken("t")) == {"ticket": {"id": "b7"}}
    assert answer_before(job_files, AttemptToken("u")) is None
    assert answer_before(job_files, AttemptToken("v")) is None


def test_without_room_for_the_answer_its_ids_are_named_instead() -> None:
    with pytest.raises(CreateAmbiguous, match=r"could not be kept \(.*no space left\); ids in it: b7$"):
        kept(not_understood(b'{"ticket": {"id": "b7", "row": "Q<row 3>"}}'), FullJobFiles()).create(SUBMISSION)


@pytest.mark.parametrize(
    ("error", "begins"), [("line 3: bad", "line 3: bad (the provider's message: "), ("", "the provider's ")]
)
def test_a_batch_that_ended_names_the_file_and_one_that_runs_keeps_nothing(error: str, begins: str) -> None:
    job_files = MemoryJobFiles()
    ended = BatchStatus(outcome=Outcome.FAILED, error=error, provider_message=SAID, done_count=2)
    running = BatchStatus(outcome=None, provider_message=SAID)

    assert kept(running, job_files).status(BATCH) == running
    assert job_files.files == {}
    status = kept(ended, job_files).status(BATCH)
    [name] = job_files.files
    assert status.error.startswith(begins)
    assert name in status.error
    assert (status.provider_message, status.done_count) == ("", 2)


@pytest.mark.parametrize("message", ["HTTP 401: no such key", "the exchange broke"])
def test_words_that_add_nothing_are_not_kept(message: str) -> None:
    for provider_message in (message, ""):
        job_files = MemoryJobFiles()
        with pytest.raises(Unavailable) as caught:
            kept(Unavailable(message, provider_message=provider_message), job_files).cancel(BATCH)
        assert (str(caught.value), job_files.files) == (message, {})


@pytest.mark.parametrize(
    "error", [BadRequest("HTTP 400", provider_message=SAID), CreateAmbiguous("HTTP 500", provider_message=SAID)]
)
def test_where_words_cannot_be_kept_the_error_goes_on_without_them(error: Exception) -> None:
    """A refusal must not turn into an error of the disk."""
    with pytest.raises(type(error)) as caught:
        kept(error, FullJobFiles()).create(SUBMISSION)

    assert caught.value is error
    assert str(error) in ("HTTP 400", "HTTP 500")


def test_the_same_words_are_one_file_and_the_files_have_a_limit() -> None:
    job_files, messages = MemoryJobFiles(), list[str]()
    for number in range(FILES_MAX + 5):
        for _ in range(2):
            with pytest.raises(BadRequest) as caught:
                kept(BadRequest("HTTP 400", provider_message=f"{SAID} {number}"), job_files).cancel(BATCH)
            messages.append(str(caught.value))

    assert len(job_files.files) == FILES_MAX
    assert len(set(messages)) == FILES_MAX + 1
    assert messages[-10:] == ["HTTP 400"] * 10
    with pytest.raises(BadRequest, match="the provider's message"):
        kept(BadRequest("HTTP 400", provider_message=f"{SAID} 0"), job_files).cancel(BATCH)


def test_what_is_asked_and_what_is_answered_pass_unchanged() -> None:
    asked = {"upload": (SUBMISSION,), "create": (SUBMISSION,), "find": (LOST,)}
    for call in ("upload", "create", "find"):
        inner = Saying("answer")
        provider = PrivateErrors(inner, MemoryJobFiles, FOLDER)
        assert CALLS[call](provider) == "answer"
        assert inner.asked == [asked[call]]
        assert provider.traits is inner.traits
    files = [ResultFile(name="output", blocks=iter(())), ResultFile(name="error", blocks=iter(()))]
    assert list(kept(files, MemoryJobFiles()).results(BATCH, "where")) == files
