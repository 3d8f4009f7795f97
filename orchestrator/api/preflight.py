"""The free checks before a job's first create: a wrong address, key or model stops it before money and uploads.

Rule: only what would fail the create for certain stops a job; a list of models that is not to be had holds nobody up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.domain.checks import NEEDS_PERSON, Level
from orchestrator.domain.errors import ConfigError, JobStopped
from orchestrator.job_files import create_journal
from orchestrator.log import PREFLIGHT_WARNED, EventLog

if TYPE_CHECKING:
    from orchestrator.engine.job_context import JobContext
    from orchestrator.engine.workspace import Workspace

_log: Final = EventLog(__name__)


MODEL: Final = "model"


def check_before_first_create(workspace: Workspace, context: JobContext) -> None:
    """Check the provider and the model, unless the job has sent something before.

    Raises:
        ConfigError: something that was given is wrong.
        JobStopped: the account is refused.
    """
    from orchestrator.providers.check import check_provider

    if _has_sent(workspace, context):
        return
    for check in check_provider(context.spec.provider, workspace.environment, context.spec.model):
        if check.level is Level.ERROR:
            kind = JobStopped if check.code == NEEDS_PERSON else ConfigError
            first, *rest = check.message.split("\n")
            raise kind("\n".join([f"{first.rstrip('.')}. Nothing was sent", *rest]))
        if check.level is Level.WARNING and check.name == MODEL:
            _log.warning(PREFLIGHT_WARNED, job=context.spec.job_id, found=check.found, todo=check.todo)


def _has_sent(workspace: Workspace, context: JobContext) -> bool:
    """Whether a create was sent, also one whose answer was lost."""
    job_id = context.spec.job_id
    is_known = any(job.id == job_id for job in workspace.admin.jobs())
    if is_known and workspace.ledger.totals(job_id).batches > 0:
        return True
    return bool(context.job_files.names(create_journal.INTENTS))
