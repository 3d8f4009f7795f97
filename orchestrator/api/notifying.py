"""Tries whether notices arrive, and says what stands in their way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from orchestrator import settings as configuration
from orchestrator.domain.checks import NEEDS_PERSON, Check, Level
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.notice_messages import sample
from orchestrator.domain.notices import Again
from orchestrator.engine.notifier import Notifier
from orchestrator.engine.opening import opened_workspace
from orchestrator.providers.webhook import NotReceived, Receiver, receiver_of_job, receiver_of_settings, send

if TYPE_CHECKING:
    from orchestrator.api.job import Job
    from orchestrator.domain.notices import Notify
    from orchestrator.engine.workspace import Workspace
    from orchestrator.settings import Settings

RECENT: Final = timedelta(days=1)
HOW: Final = 'Set ORCHESTRATOR_NOTIFY_URL, or give the job file a table [notify] with url_env = "VARIABLE"'


def try_notice(job: Job | str | None, work: str) -> Check:
    """Send a test to where notices of a job go (of a job file, or of one in the work folder), and return the outcome.

    Raises ConfigError where nothing is configured, or it cannot be used.
    """
    settings = configuration.load(os.environ)
    receiver = _receiver(_notify_of(job, work), settings, os.environ)
    if receiver is None:
        raise ConfigError(f"nothing says where notices go. {HOW}")
    now = datetime.now(UTC)
    try:
        status = send(
            receiver, sample(receiver.format, now), id=f"test-{now:%Y%m%dT%H%M%S}", now=now, environment=os.environ
        )
    except NotReceived as error:
        todo = f"Correct {receiver.named_by}, or the receiver, and type the command again"
        return Check(name="notices", level=Level.ERROR, found=str(error), todo=todo, code=NEEDS_PERSON)
    return Check(name="notices", found=f"{receiver.shown} ({receiver.format.value}) has received a test: {status}")


def deliver(work: str) -> Iterator[Check]:
    """Send what was not received within the last day once more, and tell what became of it; nothing of nothing.

    Each goes where its job says, else to where the settings say.
    """
    stack = ExitStack()
    try:
        workspace = stack.enter_context(opened_workspace(work, must_exist=True))
    except ConfigError:  # there is no ledger yet
        return
    with stack:
        received = Notifier.of(workspace, configuration.load(os.environ)).send_due(Again.GIVEN_UP_TOO)
        left = list(check_received(workspace))
    if received:
        many = "1 notice was" if received == 1 else f"{received:,} notices were"
        yield Check(name="notices", found=f"{many} received now that had not been")
    yield from left


def check_notices(notify: Notify | None, settings: Settings, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check where notices go, without sending any; nothing where none are sent."""
    try:
        receiver = _receiver(notify, settings, environment)
    except ConfigError as error:
        yield Check(name="notices", level=Level.ERROR, found=str(error))
        return
    if receiver is not None:
        kinds = ", ".join(receiver.on)
        todo = "`orchestrator notify` sends a test"
        yield Check(name="notices", found=f"to {receiver.shown} ({receiver.format.value}): {kinds}", todo=todo)


def check_received(workspace: Workspace) -> Iterator[Check]:
    """Tell notices of the last day that nobody has received."""
    now = workspace.clock.now()
    failures = workspace.notices.failures(now=now, since=now - RECENT)
    if failures.count:
        many = "1 notice was" if failures.count == 1 else f"{failures.count:,} notices were"
        why = f": {failures.error}" if failures.error else ""
        found, todo = f"{many} not received in the last day{why}", "`orchestrator notify` tries again"
        yield Check(name="notices", level=Level.WARNING, found=found, todo=todo)


def _receiver(notify: Notify | None, settings: Settings, environment: Mapping[str, str]) -> Receiver | None:
    return receiver_of_settings(settings) if notify is None else receiver_of_job(notify, environment)


def _notify_of(job: Job | str | None, work: str) -> Notify | None:
    if job is None:
        return None
    if not isinstance(job, str):
        return job.resolved_notify
    from orchestrator.api.commands import open_job

    handle = open_job(job, work=work)
    with opened_workspace(work) as workspace:
        return workspace.context(handle.job_id).spec.notify
