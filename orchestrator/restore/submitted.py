"""The records of a job's creates in its folder: which may have been sent, their batches, their results.

Rule: if a chunk has a later create, the earlier one had ended: no create is begun before the previous one ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from orchestrator.job_files import create_journal, records
from orchestrator.job_files.create_journal import Intent
from orchestrator.job_files.records import Collected

if TYPE_CHECKING:
    from orchestrator.domain.model import AttemptToken, BatchId, JobId
    from orchestrator.ports import JobFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The creates of a job, by chunk."""

    intents: Mapping[str, Mapping[int, Intent]]  # a chunk's name: a create's number: what was to be sent
    batches: Mapping[AttemptToken, BatchId]  # what was answered
    collected: Mapping[str, Collected]  # a chunk's name: the results of its last batch
    request_files: frozenset[str] = field(default_factory=frozenset)
    unexplained: tuple[str, ...] = ()  # batches whose chunk is unknown

    def is_sent(self, requests: str) -> bool:
        """Return whether this file of requests may have been sent."""
        return requests in self.request_files


def read_sent(job_files: JobFiles) -> Sent:
    """Read all intents, journal files and records of results. Raises StorageError for one that is damaged."""
    intents: dict[str, dict[int, Intent]] = defaultdict(dict)
    explained: set[AttemptToken] = set()
    files: set[str] = set()
    for name in job_files.names(create_journal.INTENTS):
        intent = create_journal.read_intent(job_files, name)
        intents[intent.chunk][intent.attempt] = intent
        explained.add(intent.token)
        files.add(intent.requests)
    answers = (create_journal.read_journal_file(job_files, name) for name in job_files.names(create_journal.JOURNAL))
    batches = {answer.token: answer.batch_id for answer in answers}
    collected: dict[str, Collected] = {}
    for name in job_files.names(records.COLLECTED):
        found = records.read_collected(job_files, name)
        explained.add(found.token)
        batches.setdefault(found.token, found.batch_id)
        known = collected.get(found.chunk)
        if known is None or _rank(found) > _rank(known):
            collected[found.chunk] = found
    unexplained = tuple(f"{batch}" for token, batch in batches.items() if token not in explained)
    return Sent(
        intents=intents,
        batches=batches,
        collected=collected,
        request_files=frozenset(files),
        unexplained=unexplained,
    )


def with_own_batches(
    found: Mapping[JobId, tuple[str, Sent]], made: Collection[tuple[str, BatchId]]
) -> dict[JobId, Sent]:
    """Leave out each batch that another create was answered with, too: its results are that create's.

    That is the one in the ledger, else the one whose results were collected, else the earliest.

    Args:
        found: the provider of each job (see `provider_of`), and its creates.
        made: the providers and batches of the creates that the ledger has.
    """
    owners: dict[tuple[str, BatchId], AttemptToken | None] = dict.fromkeys(made)
    answers = [(provider, *answer) for provider, sent in found.values() for answer in _answers(sent)]
    for provider, token, batch_id, _, _ in sorted(answers, key=lambda answer: answer[3:]):
        owners.setdefault((provider, batch_id), token)
    return {
        job_id: replace(
            sent, batches={token: one for token, one in sent.batches.items() if owners[provider, one] == token}
        )
        for job_id, (provider, sent) in found.items()
    }


def _answers(sent: Sent) -> Iterator[tuple[AttemptToken, BatchId, bool, float]]:
    """Return each create's batch, whether its results are missing, and when it was sent (last, where not known)."""
    with_results = {found.token for found in sent.collected.values()}
    sent_at = {intent.token: intent.sent_at.timestamp() for one in sent.intents.values() for intent in one.values()}
    for token, batch_id in sent.batches.items():
        yield token, batch_id, token not in with_results, sent_at.get(token, inf)


def _rank(found: Collected) -> tuple[int, int, int, bool]:
    """Of two records of one chunk, the later create's counts; of one create's, the one that read more, or is final."""
    return found.attempt, found.rereads, found.tally.succeeded, ".final" in found.part
