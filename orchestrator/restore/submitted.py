"""The records of a job's creates in its folder: which may have been sent, their batches, their results.

Rule: if a chunk has a later create, the earlier one had ended: no create is begun before the previous one ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.job_files import create_journal, records
from orchestrator.job_files.create_journal import Intent
from orchestrator.job_files.records import Collected

if TYPE_CHECKING:
    from orchestrator.domain.model import AttemptToken, BatchId
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
        batches=_owned(batches, intents, collected),
        collected=collected,
        request_files=frozenset(files),
        unexplained=unexplained,
    )


def _owned(
    batches: Mapping[AttemptToken, BatchId],
    intents: Mapping[str, Mapping[int, Intent]],
    collected: Mapping[str, Collected],
) -> dict[AttemptToken, BatchId]:
    """Leave out a batch that an earlier create was answered with, too: its results are that create's."""
    with_results = [found.token for found in collected.values()]
    of_chunks = (intent for of_chunk in intents.values() for intent in of_chunk.values())
    earliest_first = [intent.token for intent in sorted(of_chunks, key=lambda intent: intent.sent_at)]
    owners: dict[BatchId, AttemptToken] = {}
    for token in [*with_results, *earliest_first, *batches]:
        if token in batches:
            owners.setdefault(batches[token], token)
    return {token: batch_id for token, batch_id in batches.items() if owners[batch_id] == token}


def _rank(found: Collected) -> tuple[int, int, int, bool]:
    """Of two records of one chunk, the later create's counts; of one create's, the one that read more, or is final."""
    return found.attempt, found.rereads, found.tally.succeeded, ".final" in found.part
