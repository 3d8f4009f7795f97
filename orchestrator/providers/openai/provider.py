"""OpenAI's Batch API: an input file, a batch made from it, an output file and an error file.

Rule 1: a batch has its attempt's token in its metadata, and is made from a file of that attempt alone: two marks, each
    of which is enough to find it again.
Rule 2: a batch created from a deleted input file is refused, or fails unbilled: deleting the file stops a late create.
Rule 3: both result files are read, whatever the batch's outcome.

    POST   /files (multipart)        purpose=batch, the lines          ->  {"id", "bytes", …}
    POST   /batches                  {"input_file_id", "metadata", …}  ->  the batch object
    GET    /batches/{id}             the batch object
    GET    /batches?limit=&after=    {"data": [batch object, …], "has_more"}, newest first
    POST   /batches/{id}/cancel      no body
    GET    /files/{id}               {"id", "filename", "status", …}
    GET    /files/{id}/content       lines
    DELETE /files/{id}               {"deleted": true}

Source: the types of openai 3.54.0, openapi.yaml of 2026-08-21 and the guide "Batch API", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

import orjson

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.created_batch import unwrapped
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    PermanentError,
    ProviderError,
    Unavailable,
    UploadUnusable,
)
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import BatchId, FileId, is_usable_id
from orchestrator.domain.results_at import Files, ResultsAt
from orchestrator.ports import HasFiles, HasList
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.creates import (
    batch_or_problem,
    failed_create,
    misplaced,
    refusal_of_upload,
)
from orchestrator.providers.http.error_mapping import (
    Answer,
    Problem,
    error_of,
    is_ended_already,
    number,
    problem_of,
)
from orchestrator.providers.http.exchange import Body, path_of
from orchestrator.providers.http.result_download import beginning
from orchestrator.providers.listing import pages, statuses_of
from orchestrator.providers.openai.lost_batches import SharedSearch
from orchestrator.providers.openai.wire import LABEL_KEY, TOKEN_KEY, input_state_of, status_of, token_of

LABEL_LENGTH_MAX: Final = 512  # of a value of the metadata
REPEATED: Final = ": something on the way may have repeated an earlier answer"
NAME_BEGINNING: Final = "orchestrator-"  # of input files; the token of the attempt follows
_MISSING: Final = (404, 410)


class OpenAI:
    """One account (a project) at OpenAI, or at a provider with the same API; see the port `Provider`."""

    def __init__(self, http: HttpClient, traits: Traits, *, endpoint: str) -> None:
        self._http = http
        self._endpoint = endpoint
        self._search = SharedSearch(http)
        self.traits = replace(traits, key_mark=http.key_mark)

    @property
    def files(self) -> HasFiles:
        """Input files."""
        return self

    @property
    def batch_list(self) -> HasList:
        """The list of the project's batches."""
        return self

    def upload(self, submission: Submission) -> FileId:
        """See the port. A file that was not stored completely is not used."""
        answer = self._http.upload("/files", _form(submission))
        problem = problem_of(answer, self._http.key)
        if problem is not None:
            raise refusal_of_upload(answer, problem, self._http.key)
        match answer.json():
            case {"id": str()} as content if input_state_of(content) is InputState.BROKEN:
                raise UploadUnusable(f"the provider could not process the uploaded file ({answer.asked})")
            case {"id": str() as file_id, **others} if is_usable_id(file_id):
                _refuse_another_upload(answer, others.get("filename"), submission)
                kept_bytes = number(others.get("bytes")) or submission.size_bytes  # 0: not told
            case _:
                raise misplaced(answer, self._http.key) or UploadUnusable(
                    f"{answer.asked} was answered with HTTP {answer.status}, but with no usable file id"
                )
        if kept_bytes != submission.size_bytes:
            raise UploadUnusable(
                f"the provider says that it has {kept_bytes:,} bytes of the input file, and {submission.size_bytes:,} "
                f"were sent ({answer.asked})"
            )
        return FileId(file_id)

    def state(self, file_id: FileId) -> InputState:
        """See the port. Its `status` is deprecated at OpenAI, and the only word about it at others with this API."""
        try:
            answer = self._http.call("GET", path_of("files", file_id))
        except ProviderError:
            return InputState.UNKNOWN
        if answer.status in _MISSING:
            return InputState.MISSING
        return input_state_of(answer.json()) if answer.is_success else InputState.UNKNOWN

    def create(self, submission: Submission) -> BatchId:
        """See the port. A refusal because the input file is missing is certain too; another upload helps."""
        if submission.file_id is None:
            raise CreateRefused(BadRequest("the requests were not uploaded: there is no input file"))
        metadata = {TOKEN_KEY: submission.token, LABEL_KEY: submission.label[:LABEL_LENGTH_MAX]}
        content = {
            "input_file_id": submission.file_id,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": metadata,
        }
        body = orjson.dumps(content)
        answer = self._http.create("/batches", iter((body,)), size_bytes=len(body))
        problem = batch_or_problem(answer, self._http.key)
        if not isinstance(problem, Problem):
            _refuse_another_create(answer, problem, submission)
            return problem
        raise failed_create(answer, problem, self._http.key)

    def status(self, batch_id: BatchId) -> BatchStatus:
        """See the port."""
        answer = self._http.call("GET", path_of("batches", batch_id))
        problem = problem_of(answer, self._http.key) if not answer.is_success else None
        if problem is not None:
            raise error_of(problem, gone=_MISSING)
        status = status_of(answer.json(), self._http.key)
        if status is None:
            raise self._unexpected(answer, "no batch object in the answer to a poll")
        return status

    def statuses(self) -> Iterator[Mapping[BatchId, BatchStatus]]:
        """See the port."""
        return statuses_of(pages(self._http, "/batches"), lambda batch: status_of(batch, self._http.key))

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:  # noqa: ARG002 - of the port
        """See the port. Read a file's blocks before the next file; a missing file does not hide others."""
        if not isinstance(where, Files):
            raise BadRequest("OpenAI's results are in files")
        gone: Gone | None = None
        for ref in where.refs:
            with self._http.download(f"{path_of('files', ref.at)}/content") as download:
                try:
                    head = beginning(download, self._http.key)
                except Gone as error:
                    gone = gone or error
                    continue
                yield ResultFile(name=ref.name, blocks=chain((head,), download.blocks), line_count=ref.line_count)
        if gone is not None:
            raise gone

    def cancel(self, batch_id: BatchId) -> None:
        """See the port."""
        answer = self._http.call("POST", f"{path_of('batches', batch_id)}/cancel")
        problem = problem_of(answer, self._http.key) if not answer.is_success else None
        if problem is not None and not is_ended_already(problem):
            raise error_of(problem, gone=_MISSING)

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """See the port. Every page with a batch of that time is read; an unreadable page is an error."""
        is_ours = not lost.is_other_key or self._has_file(lost.file_id, lost.token)
        # Two accounts may have the same ids; a token is in one only.
        found = self._search.find(lost.token, lost.since, lost.file_id if is_ours else None)
        return found if found or is_ours else None

    def _has_file(self, file_id: FileId | None, token: str) -> bool:
        """Whether this key can see the attempt's input file, known by its id and by the token in its name."""
        if file_id is None:
            return False
        answer = self._http.call("GET", path_of("files", file_id))
        problem = problem_of(answer, self._http.key)
        error = error_of(problem, gone=_MISSING) if problem is not None else None
        if isinstance(error, PermanentError):
            return False
        if error is not None:
            raise error
        match answer.json():
            case {"id": str() as known, "filename": str() as name}:
                return known == file_id and token in name
        return False

    def delete(self, file_id: FileId) -> None:
        """See the port. A file counts as deleted only if the provider confirms it, or says that there is none."""
        answer = self._http.call("DELETE", path_of("files", file_id))
        problem = problem_of(answer, self._http.key)
        if problem is not None and problem.http_status in _MISSING:
            return
        if problem is not None:
            raise error_of(problem)
        match answer.json():
            case {"deleted": True}:
                return
        raise self._unexpected(answer, "the provider did not confirm that the file is deleted")

    def _unexpected(self, answer: Answer, what: str) -> ProviderError:
        problem = problem_of(answer, self._http.key)
        return Unavailable(f"HTTP {answer.status}, but {what}") if problem is None else error_of(problem)


def _refuse_another_upload(answer: Answer, name: object, submission: Submission) -> None:
    """Raise UploadUnusable for a file of another upload of ours: its rows would be paid for a second time."""
    if isinstance(name, str) and name.startswith(NAME_BEGINNING) and submission.token not in name:
        raise UploadUnusable(f"{answer.asked} was answered with the file of another upload{REPEATED}")


def _refuse_another_create(answer: Answer, batch_id: BatchId, submission: Submission) -> None:
    """Raise CreateAmbiguous for a batch with the mark of another create of ours.

    What is kept of the answer names no batch: it must never be taken for this create's.
    """
    shown = unwrapped(answer.json())
    token = token_of(shown) if isinstance(shown, dict) else ""
    if token not in ("", submission.token):
        words = f"{answer.asked} was answered with batch {batch_id}, which has the mark of another create{REPEATED}"
        raise CreateAmbiguous(words, answer=words.encode())


def _form(submission: Submission) -> Body:
    """Wrap the lines in a multipart form, streamed. The random token is also the boundary."""
    boundary = f"{NAME_BEGINNING}{submission.token}"
    opening = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{boundary}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    ).encode()
    closing = f"\r\n--{boundary}--\r\n".encode()
    return Body(
        blocks=chain((opening,), submission.blocks(), (closing,)),
        size_bytes=len(opening) + submission.size_bytes + len(closing),
        content_type=f"multipart/form-data; boundary={boundary}",
    )
