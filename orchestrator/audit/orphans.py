"""Finds files of the work folder that the ledger does not know, above all creates.

Such a create is a paid batch that is missing in the ledger: the ledger is older than the folder. Files of interrupted
plans are harmless and are not searched for.

Rule: the folder is listed before the ledger is read, so that a new file of the folder is already in the ledger.
Memory holds names only: some hundred bytes for each create, nothing for rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Final

from orchestrator.audit.chunk_files import damage
from orchestrator.job_files import create_journal
from orchestrator.job_files.reused_parts import is_reused

if TYPE_CHECKING:
    from orchestrator.audit.findings import Audit
    from orchestrator.domain.model import AttemptToken
    from orchestrator.ports import JobFiles

RESULTS: Final = ("raw", "parts")
_RESULT: Final = re.compile(r"(?:raw|parts)/(.+)\.a(\d+)\.")
UNKNOWN: Final = "unknown: see `orchestrator recover`"


def check_orphans(
    audit: Audit,
    job_files: JobFiles,
    tokens: Callable[[], Set[AttemptToken]],
    files: Callable[[], Set[tuple[str, int]]],
) -> None:
    """Report files that are in the folder and not in the ledger.

    Args:
        tokens: reads the tokens of all creates from the ledger.
        files: reads (chunk, number) of all creates from it: what the names of their results begin with.
    """
    answers, intents = job_files.names(create_journal.JOURNAL), job_files.names(create_journal.INTENTS)
    results = {folder: job_files.names(folder) for folder in RESULTS}
    known = tokens()
    answered = {create_journal.token_of(name) for name in answers}
    for name in answers:
        if create_journal.token_of(name) not in known:
            with damage(audit, name, "create in the journal"):
                batch_id = create_journal.read_journal_file(job_files, name).batch_id
                audit.differ(name, "create in the journal", ledger=UNKNOWN, archive=f"batch {batch_id}")
    for name in intents:
        token = create_journal.token_of(name)
        if token not in known and token not in answered:
            with damage(audit, name, "create begun"):
                intent = create_journal.read_intent(job_files, name)
                begun = f"{intent.chunk} create {intent.attempt}, sent {intent.sent_at.isoformat()}, no answer kept"
                audit.differ(name, "create begun", ledger=UNKNOWN, archive=begun)
    sent = files()
    for folder, names in results.items():
        for name in names:
            if is_reused(name):
                continue  # of an interrupted plan, perhaps: nothing was paid for it
            found = _RESULT.match(name)
            if found is None or (found[1], int(found[2])) not in sent:
                audit.differ(name, f"file in {folder}", ledger="no such create", archive="in place")
