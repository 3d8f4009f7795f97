"""Adapters of a provider that ask it wrongly, or read its answers wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, Unavailable
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.results_at import ResultsAt
from tests.fakes.capabilities import Capabilities
from tests.fakes.provider import SimulatedProvider

PAGE: Final = 2


class FlawedAdapter(Capabilities):
    """A provider's adapter with a flaw."""

    def __init__(self, provider: SimulatedProvider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    @property
    def traits(self) -> Any:
        """The provider's traits."""
        return self._provider.traits


class RetryingAdapter(FlawedAdapter):
    """Sends the POST again when its answer is lost, as the vendors' own libraries do."""

    def create(self, submission: Submission) -> BatchId:
        """Send the POST, and again."""
        try:
            return self._provider.create(submission)
        except CreateAmbiguous:
            return self._provider.create(submission)


class HopefulAdapter(FlawedAdapter):
    """Takes a lost answer for a refusal."""

    def create(self, submission: Submission) -> BatchId:
        """Send the POST, and believe in the best."""
        try:
            return self._provider.create(submission)
        except CreateAmbiguous as ambiguous:
            raise CreateRefused(Unavailable(str(ambiguous))) from ambiguous


class MarklessAdapter(FlawedAdapter):
    """Does not send our mark with the create."""

    def create(self, submission: Submission) -> BatchId:
        """Send the POST under a name that nobody knows."""
        return self._provider.create(replace(submission, token=AttemptToken(f"lost {submission.token}")))


class NewKeyAdapter(FlawedAdapter):
    """Sends a repeated create under a new key."""

    def create(self, submission: Submission) -> BatchId:
        """Send the POST; from the second time on, under another token."""
        count = self._provider.post_count.get(submission.token, 0)
        if count:
            self._provider.post_count[submission.token] += 1
            submission = replace(submission, token=AttemptToken(f"{submission.token} {count}"))
        return self._provider.create(submission)


class FencelessAdapter(FlawedAdapter):
    """Leaves the input file where it is."""

    def delete(self, file_id: FileId) -> None:
        """Do nothing."""


class LaglessAdapter(FlawedAdapter):
    """Says that a new batch is in the list at once."""

    @property
    def traits(self) -> Traits:
        """What the provider is like, but for the lag."""
        return replace(self._provider.traits, lag_s=0.0)


class ImpatientAdapter(FlawedAdapter):
    """Says that no create takes effect later than it is answered."""

    @property
    def traits(self) -> Traits:
        """What the provider is like, but for creates that are late."""
        return replace(self._provider.traits, late_s=0.0)


class BlindAdapter(FlawedAdapter):
    """Finds nothing, because it asks for the wrong mark."""

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """Look for another mark."""
        other_file = lost.file_id and FileId(f"not {lost.file_id}")
        return self._provider.find(replace(lost, token=AttemptToken(f"not {lost.token}"), file_id=other_file))


class FirstPageAdapter(FlawedAdapter):
    """Reads the first page of the list, which holds the newest batches of the account."""

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """Look at a few batches."""
        page = list(self._provider.batches)[-PAGE:]
        found = self._provider.find(lost)
        return found and [batch for batch in found if batch.batch_id in page]


class EndedOnlyAdapter(FlawedAdapter):
    """Passes over batches that do not show yet whose they are."""

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """Look at batches that have ended."""
        batches = self._provider.batches.values()
        mine = [batch for batch in batches if batch.ended and batch.token == lost.token]
        return [
            Listed(batch_id=batch.id, created_at=batch.created_at) for batch in mine if lost.since <= batch.created_at
        ]


class GuessingAdapter(FlawedAdapter):
    """Takes any batch of about that time for ours."""

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """Look at the newest batch."""
        newest = list(self._provider.batches.values())[-1:]
        return [
            Listed(batch_id=batch.id, created_at=batch.created_at) for batch in newest if lost.since <= batch.created_at
        ]


class AnswersOnlyAdapter(FlawedAdapter):
    """Never reads the file of errors."""

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """Stream one file."""
        return (file for file in self._provider.results(batch_id, where) if file.name != "error")


class CompletedOnlyAdapter(FlawedAdapter):
    """Knows of results only where a batch was completed."""

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say how a batch stands, and nothing of its results where it ended badly."""
        status = self._provider.status(batch_id)
        ended_badly = status.outcome not in (None, Outcome.COMPLETED)
        return replace(status, results=None, done_count=0, failed_count=0) if ended_badly else status
