"""Searches the provider's list, where it has one, for duplicates and for batches of creates recorded as having none.

Rule: it only reads the list; no batch is adopted or cancelled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.audit.chunk_files import damage
from orchestrator.batches.recover import CLOCK_ERROR_S_MAX
from orchestrator.domain.batch import LostCreate
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.model import AttemptState
from orchestrator.domain.recovery import Recovery, is_other
from orchestrator.job_files import create_journal

if TYPE_CHECKING:
    from orchestrator.audit.findings import Audit
    from orchestrator.domain.model import Attempt, Chunk, FileId
    from orchestrator.domain.snapshot import Entry
    from orchestrator.ports import HasList, JobFiles, Provider

ENDED: Final = frozenset({AttemptState.REFUSED, AttemptState.ABSENT, AttemptState.ABANDONED})


@dataclass(slots=True)
class ProviderCheck:
    """Asks the provider about creates; it stops after one failure, which the audit notes."""

    audit: Audit
    provider: Provider | None
    deep: bool
    job_files: JobFiles

    def __post_init__(self) -> None:
        if self.provider is not None and self.provider.traits.recovery is not Recovery.FENCED:
            has_list = self.provider.traits.recovery is Recovery.SETTLED
            what = "has no marks of ours in its list of batches" if has_list else "has no list of batches"
            self.audit.notes.append(f"{self.provider.traits.name} {what}: it was not asked")
            self.provider = None

    def check(self, entry: Entry) -> None:
        """Ask about the creates that made nothing; with `deep`, about all closed creates."""
        for attempt in entry.attempts:
            wanted = attempt.state in ENDED or (self.deep and attempt.state is AttemptState.CREATED)
            if wanted and self.provider is not None and self.provider.batch_list is not None:
                self._check(entry.chunk, attempt, self.provider, self.provider.batch_list)

    def _note_other_key(self) -> None:
        words = "some creates were sent with another key than the present one: the provider was not asked about them"
        if words not in self.audit.notes:
            self.audit.notes.append(words)

    def _check(self, chunk: Chunk, attempt: Attempt, provider: Provider, batch_list: HasList) -> None:
        unit = f"{chunk.name} create {attempt.number}"
        clock_error, file_id = timedelta(seconds=CLOCK_ERROR_S_MAX), None
        with damage(self.audit, unit, "intent"):
            file_id = self._file_of(chunk, attempt)
        try:
            found = batch_list.find(
                LostCreate(
                    token=attempt.token,
                    since=attempt.sent_at - clock_error,
                    until=attempt.sent_at + clock_error,
                    file_id=file_id,
                    is_other_key=is_other(attempt.key_mark, provider.traits.key_mark),
                )
            )
        except ProviderError as error:
            self.audit.notes.append(f"the provider could not be asked any further: {error}")
            self.provider = None
            return
        if found is None:
            self._note_other_key()
            return
        unknown = [one.batch_id for one in found if one.batch_id != attempt.batch_id]
        if not unknown:
            return
        made = attempt.batch_id or f"nothing ({attempt.state})"
        self.audit.differ(unit, "batches at the provider", ledger=made, archive=", ".join(unknown))

    def _file_of(self, chunk: Chunk, attempt: Attempt) -> FileId | None:
        """Return the create's input file, its second mark, where that is still known."""
        if chunk.token == attempt.token and chunk.file_id is not None:
            return chunk.file_id
        name = create_journal.intent_name(attempt.token)
        return create_journal.read_intent(self.job_files, name).file_id if self.job_files.exists(name) else None
