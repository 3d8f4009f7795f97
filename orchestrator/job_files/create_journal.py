"""Records a job's creates beside the ledger: the intent to send one, and the provider's answer.

Rule 1: the intent is in place after the ledger has it and before the POST, and is removed once it is known that
        nothing was created: if the ledger is lost, the intents show which creates may have been sent.
Rule 2: the provider's answer is in place, fsynced, before the ledger has it, so that a crash cannot lose it.

    intents/<token>.json      a create that may have been sent
    journal/<token>.json      the batch that it made
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator import codec
from orchestrator.domain.model import AttemptToken, BatchId, FileId
from orchestrator.job_files import records

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles

INTENTS: Final = "intents"
JOURNAL: Final = "journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A create that may have been sent."""

    token: AttemptToken
    chunk: str
    attempt: int
    requests: str
    sent_at: datetime
    reserved_usd: Decimal
    file_id: FileId | None = None
    key_mark: str = ""  # of the credential that it was sent with; "": not known
    setbacks: int = 0  # of the chunk so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The batch that a create made, by the provider's answer or by a person's statement."""

    token: AttemptToken
    batch_id: BatchId


def intent_name(token: AttemptToken) -> str:
    """Return the name of an intent's file."""
    return f"{INTENTS}/{token}.json"


def journal_name(token: AttemptToken) -> str:
    """Return the name of the file with the provider's answer to a create."""
    return f"{JOURNAL}/{token}.json"


def token_of(name: str) -> AttemptToken:
    """Return the token in the name of an intent or of a journal file."""
    return AttemptToken(name.rpartition("/")[2].removesuffix(".json"))


def write_intent(job_files: JobFiles, intent: Intent) -> None:
    """Record that a create may be sent from now on."""
    with job_files.create(intent_name(intent.token)) as file:
        file.write(codec.encode(intent))


def drop_intent(job_files: JobFiles, token: AttemptToken) -> None:
    """Record that a create is known to have made nothing."""
    job_files.remove(intent_name(token))


def read_intent(job_files: JobFiles, name: str) -> Intent:
    """Read an intent. Raises StorageError."""
    return records.read(job_files, name, Intent)


def write_journal(job_files: JobFiles, token: AttemptToken, batch_id: BatchId) -> None:
    """Store the provider's answer to a create, durably."""
    with job_files.create(journal_name(token)) as file:
        file.write(codec.encode(Created(token=token, batch_id=batch_id)))


def drop_journal(job_files: JobFiles, token: AttemptToken) -> None:
    """Forget the answer to a create: the batch that it names is another create's."""
    job_files.remove(journal_name(token))


def replace_journal(job_files: JobFiles, token: AttemptToken, batch_id: BatchId) -> None:
    """Replace an answer, which may name a batch the provider no longer knows, by a person's statement."""
    drop_journal(job_files, token)
    write_journal(job_files, token, batch_id)


def read_journal(job_files: JobFiles, token: AttemptToken) -> BatchId | None:
    """Return the batch that a create is known to have made; None where no answer is stored. Raises StorageError."""
    name = journal_name(token)
    return read_journal_file(job_files, name).batch_id if job_files.exists(name) else None


def read_journal_file(job_files: JobFiles, name: str) -> Created:
    """Read which create made which batch. Raises StorageError."""
    return records.read(job_files, name, Created)
