"""A provider wrapper that keeps the provider's messages for people in private files of the job only.

Rule 1: a provider's message for people may quote a row. It goes into a private file; the error, which goes into the
    ledger and the log, names that file.
Rule 2: if a message cannot be written, the error is raised without it.
Rule 3: equal messages are one file; the number of files is limited.
Rule 4: the answer to a create that succeeded and was not understood is kept whole before anything else is done: later
        it can be read again (`answer_before`), or by a person. If it cannot be written, the error names what may be an
        id in it.

See docs/decisions/0022-provider-messages-in-a-private-file.md.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson
import xxhash

from orchestrator.domain.created_batch import candidates
from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, ProviderError, StorageError
from orchestrator.storage.location import join

if TYPE_CHECKING:
    from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
    from orchestrator.domain.input_file import InputState
    from orchestrator.domain.model import AttemptToken, BatchId, FileId
    from orchestrator.domain.results_at import ResultsAt
    from orchestrator.ports import HasFiles, HasList, JobFiles, Provider

FOLDER: Final = "provider_messages"
FILES_MAX: Final = 1_000


class PrivateErrors:
    """A provider as one job sees it; see the port `Provider`."""

    def __init__(self, provider: Provider, job_files: Callable[[], JobFiles], folder: str) -> None:
        """Write messages to `job_files`, the files of the job's `folder`, which errors name."""
        self._provider = provider
        self._job_files = job_files
        self._folder = folder

    @property
    def traits(self) -> Traits:
        """See the port."""
        return self._provider.traits

    @property
    def files(self) -> HasFiles | None:
        """See the port."""
        files = self._provider.files
        return None if files is None else _Files(files, self._keeping)

    @property
    def batch_list(self) -> HasList | None:
        """See the port."""
        batch_list = self._provider.batch_list
        return None if batch_list is None else _List(batch_list, self._keeping)

    def create(self, submission: Submission) -> BatchId:
        """See the port."""
        with self._keeping():
            try:
                return self._provider.create(submission)
            except CreateAmbiguous as ambiguous:
                if ambiguous.answer is not None:
                    self._keep_answer(submission.token, ambiguous, ambiguous.answer)
                raise

    def status(self, batch_id: BatchId) -> BatchStatus:
        """See the port."""
        with self._keeping():
            status = self._provider.status(batch_id)
        if status.is_running:
            return status
        return replace(status, error=self._pointing(status.error, status.provider_message), provider_message="")

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """See the port."""
        with self._keeping():
            yield from self._provider.results(batch_id, where)

    def cancel(self, batch_id: BatchId) -> None:
        """See the port."""
        with self._keeping():
            self._provider.cancel(batch_id)

    @contextmanager
    def _keeping(self) -> Generator[None]:
        try:
            yield
        except CreateRefused as refusal:
            self._keep(refusal.error)
            refusal.args = refusal.error.args
            raise
        except (ProviderError, CreateAmbiguous) as error:
            self._keep(error)
            raise

    def _keep(self, error: ProviderError | CreateAmbiguous) -> None:
        error.args = (self._pointing(str(error), error.provider_message),)
        error.provider_message = ""

    def _keep_answer(self, token: AttemptToken, ambiguous: CreateAmbiguous, answer: bytes) -> None:
        try:
            keep_answer(self._job_files(), token, answer)
            where = f"all of it: {join(self._folder, answer_name(token))}"
        except StorageError as error:
            where = f"it could not be kept ({error}); ids in it: {', '.join(candidates(_content(answer))) or 'none'}"
        ambiguous.args = (f"{ambiguous}; {where}",)

    def _pointing(self, message: str, provider_message: str) -> str:
        """Return the error with the name of the message's file; unchanged, if the message adds nothing."""
        name = self._kept(provider_message) if provider_message and provider_message != message else ""
        if not name:
            return message
        place = join(self._folder, name)
        return f"{message} (the provider's message: {place})" if message else f"the provider's message: {place}"

    def _kept(self, provider_message: str) -> str:
        name = f"{FOLDER}/{xxhash.xxh3_64_hexdigest(provider_message.encode())}.txt"
        try:
            job_files = self._job_files()
            if not job_files.exists(name):
                if len(job_files.names(FOLDER)) >= FILES_MAX:
                    return ""
                with job_files.create(name) as file:
                    file.write(provider_message.encode() + b"\n")
        except StorageError:
            return ""
        return name


def answer_name(token: AttemptToken) -> str:
    """Return the name of the file with an answer to a create that was not understood."""
    return f"{FOLDER}/create-{token}.txt"


def keep_answer(job_files: JobFiles, token: AttemptToken, answer: bytes) -> None:
    """Write down an answer to a create that was not understood. Raises StorageError."""
    with job_files.create(answer_name(token)) as file:
        file.write(answer)


def answer_before(job_files: JobFiles, token: AttemptToken) -> object:
    """Return the content of a kept answer to a create; None where there is none, or none that can be read."""
    name = answer_name(token)
    if not job_files.exists(name):
        return None
    with job_files.open(name) as file:
        return _content(file.read())


def _content(answer: bytes) -> object:
    """Return the JSON value after the two lines that say what was asked and answered."""
    try:
        return orjson.loads(answer.partition(b"\n\n")[2])
    except orjson.JSONDecodeError:
        return None


_Keeping = Callable[[], AbstractContextManager[None]]


class _Files:
    """The provider's input files, with the same handling of messages."""

    def __init__(self, files: HasFiles, keeping: _Keeping) -> None:
        self._files = files
        self._keeping = keeping

    def upload(self, submission: Submission) -> FileId:
        """See the port."""
        with self._keeping():
            return self._files.upload(submission)

    def delete(self, file_id: FileId) -> None:
        """See the port."""
        with self._keeping():
            self._files.delete(file_id)

    def state(self, file_id: FileId) -> InputState:
        """See the port."""
        return self._files.state(file_id)


class _List:
    """The provider's list of batches, with the same handling of messages."""

    def __init__(self, batch_list: HasList, keeping: _Keeping) -> None:
        self._list = batch_list
        self._keeping = keeping

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """See the port."""
        with self._keeping():
            return self._list.find(lost)

    def statuses(self) -> Iterator[Mapping[BatchId, BatchStatus]]:
        """See the port."""
        with self._keeping():
            yield from self._list.statuses()
