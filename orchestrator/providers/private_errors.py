"""A provider whose own words are kept in a file of the job, and nowhere else.

Rule 1: what a provider says for people may quote a row. It goes into a private file; the error, which goes into the
    ledger and the log, names that file.
Rule 2: keeping words is never in the way of what was done: where they cannot be kept, the error goes on without them.
Rule 3: the same words are one file, however often they are said; there is a limit to the files.

See docs/decisions/0022-a-providers-words-go-into-a-file.md.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import xxhash

from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, ProviderError, StorageError
from orchestrator.storage.location import join

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.domain.batch import BatchStatus, Listed, ResultFile, Submission, Traits
    from orchestrator.domain.model import BatchId, FileId
    from orchestrator.ports import JobFiles, Provider

FOLDER: Final = "provider_messages"
FILES_MAX: Final = 1_000


class PrivateErrors:
    """A provider as one job sees it; see the port `Provider`."""

    def __init__(self, provider: Provider, job_files: Callable[[], JobFiles], folder: str) -> None:
        """Keep words in `job_files`, the files of the job's own `folder`: people are told where that is."""
        self._provider = provider
        self._job_files = job_files
        self._folder = folder

    @property
    def traits(self) -> Traits:
        """See the port."""
        return self._provider.traits

    def upload(self, submission: Submission) -> FileId:
        """See the port."""
        with self._keeping():
            return self._provider.upload(submission)

    def create(self, submission: Submission) -> BatchId:
        """See the port."""
        with self._keeping():
            return self._provider.create(submission)

    def status(self, batch_id: BatchId) -> BatchStatus:
        """See the port."""
        with self._keeping():
            status = self._provider.status(batch_id)
        if status.is_running:
            return status
        return replace(status, error=self._pointing(status.error, status.provider_message), provider_message="")

    def results(self, batch_id: BatchId, where: str) -> Iterator[ResultFile]:
        """See the port."""
        with self._keeping():
            yield from self._provider.results(batch_id, where)

    def cancel(self, batch_id: BatchId) -> None:
        """See the port."""
        with self._keeping():
            self._provider.cancel(batch_id)

    def find(
        self, submission_token: str, since: datetime, file_id: FileId | None = None, *, is_other_key: bool = False
    ) -> Sequence[Listed] | None:
        """See the port."""
        with self._keeping():
            return self._provider.find(submission_token, since, file_id, is_other_key=is_other_key)

    def fence(self, file_id: FileId) -> None:
        """See the port."""
        with self._keeping():
            self._provider.fence(file_id)

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

    def _pointing(self, message: str, provider_message: str) -> str:
        """Return the message with the place of the words, which are kept there; as it is, where they add nothing."""
        name = self._kept(provider_message) if provider_message and provider_message != message else ""
        if not name:
            return message
        place = join(self._folder, name)
        return f"{message} (in its own words: {place})" if message else f"in its own words: {place}"

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
