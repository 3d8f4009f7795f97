"""Sends the notices of the ledger's outbox, on a thread of its own: no step waits for it.

Rule 1: a notice is tried for hours, at growing intervals, then given up; `status`, `doctor` and the log tell.
Rule 2: an error here ends nothing. The next round tries again.
Rule 3: any process may send; the outbox gives each notice to one at a time.
Rule 4: a run that ends tries once more whatever was not received. It says for whom it waits, and not for long; what is
        left is sent by the next run at this ledger, or by `orchestrator notify`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import ConfigError, LedgerError, OrchestratorError
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.notice_messages import message
from orchestrator.domain.notices import Again, Kind, Notice, own_kinds
from orchestrator.engine.interrupts import signals_stop
from orchestrator.log import NOTICE_FAILED, NOTICE_SENT, NOTICES_STUCK, EventLog, say

if TYPE_CHECKING:
    from orchestrator.domain.model import Job
    from orchestrator.engine.workspace import Workspace
    from orchestrator.providers.webhook import Receiver
    from orchestrator.settings import Settings

LOOK_S: Final = 0.1
ROUND_S: Final = 2.0  # between two looks at the outbox
BUDGETS_S: Final = 30.0  # between two looks at budgets
TRIES_MAX: Final = 10
DELAY_S_MIN, DELAY_S_MAX = 5.0, 3_600.0  # ten tries take some three hours
LAST_S: Final = 10.0  # how long a run that ends waits for its last notices
SILENT_S: Final = 1.0  # and of that, without a word
LEFT: Final = "the process that sent it has ended before it was answered"
_log: Final = EventLog(__name__)


@dataclass(slots=True)
class Notifier:
    """Sends notices: a context manager with a thread of its own."""

    workspace: Workspace
    default: Receiver | None  # of the notices of jobs without a `[notify]`; None: they are left to others
    at_end: Again = Again.WHEN_DUE  # which of those that were not received are tried once more at the end
    tell: Callable[[str], None] = say
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _budgets_at: float = 0.0
    _sending: tuple[Notice, str] | None = None  # and where to

    @classmethod
    def of(cls, workspace: Workspace, settings: Settings, *, at_end: Again = Again.WHEN_DUE) -> Notifier:
        """Return the notifier of a process with these settings. Raises ConfigError where they cannot be used."""
        if not settings.notify_url:
            return cls(workspace, None, at_end)
        from orchestrator.providers.webhook import receiver_of_settings

        return cls(workspace, receiver_of_settings(settings), at_end)

    def __enter__(self) -> Notifier:
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Send what the end has brought, within a limited time; Ctrl-C leaves it to the next process."""
        self._over.set()
        thread = self._thread
        if thread is None:
            return
        thread.join(SILENT_S)
        if not thread.is_alive():
            return
        leave, until = threading.Event(), time.monotonic() + LAST_S - SILENT_S
        with signals_stop(leave, tell=lambda _signal: None):
            if sending := self._sending:
                self.tell(f"telling {sending[1]}: up to {LAST_S:.0f} s; Ctrl-C leaves it for the next run")
            while thread.is_alive() and not leave.is_set() and time.monotonic() < until:
                thread.join(LOOK_S)
        if thread.is_alive() and (sending := self._sending):
            notice, place = sending
            self.tell(f"{place} has not answered:\n  `orchestrator notify` tries again, and so does the next run")
            with suppress(LedgerError):
                self.workspace.notices.put_off(notice, LEFT, due_at=self.workspace.clock.now())

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._over.wait(ROUND_S)  # once more after the end: the job has just finished
            try:
                self._look_at_budgets()
                self.send_due(self.at_end if is_last else Again.WHEN_DUE)
            except OrchestratorError as error:
                _log.warning(NOTICES_STUCK, error=str(error))
            except Exception as error:  # noqa: BLE001 - a notice must not end a worker, nor its successors
                _log.error(NOTICES_STUCK, error=type(error).__name__)

    def send_due(self, again: Again = Again.WHEN_DUE) -> int:
        """Send each notice that is due, once; return how many were received. Raises LedgerError, ConfigError."""
        count, last, outbox = 0, 0, self.workspace.notices
        now, with_default = self.workspace.clock.now(), self.default is not None
        while notice := outbox.take(now=now, with_default=with_default, again=again, after=last):
            last = notice.id
            count += self._send(notice)
        return count

    def _send(self, notice: Notice) -> bool:
        from orchestrator.providers.webhook import NotReceived, send

        outbox, clock = self.workspace.notices, self.workspace.clock
        about = {"job": notice.job_id, "kind": notice.kind.value, "tries": notice.tries}
        try:
            receiver = self.default if not notice.is_own else self._receiver_of(JobId(notice.job_id))
            if receiver is None or notice.kind not in receiver.on:
                outbox.unwanted(notice, now=clock.now())
                return False
            written = message(receiver.format, notice, self.workspace.look(JobId(notice.job_id)))
            name = f"{self.workspace.workers.ledger_id()[:12]}-{notice.id}"
            self._sending = notice, receiver.shown
            send(receiver, written, id=name, now=clock.now(), environment=self.workspace.environment)
        except (NotReceived, ConfigError) as error:
            is_final = isinstance(error, NotReceived) and error.is_final
            self._not_received(notice, str(error), about, is_final=is_final)
            return False
        finally:
            self._sending = None
        outbox.sent(notice, now=clock.now())
        _log.info(NOTICE_SENT, **about, to=receiver.shown)
        return True

    def _not_received(self, notice: Notice, words: str, about: Mapping[str, object], *, is_final: bool) -> None:
        outbox, now = self.workspace.notices, self.workspace.clock.now()
        if is_final or notice.tries >= TRIES_MAX:
            outbox.give_up(notice, words, now=now)
            _log.error(NOTICE_FAILED, **about, error=words, again=False)
            return
        wait_s = min(DELAY_S_MAX, DELAY_S_MIN * 3 ** (notice.tries - 1)) * (0.8 + 0.4 * self.workspace.clock.draw())
        outbox.put_off(notice, words, due_at=now + timedelta(seconds=wait_s))
        _log.warning(NOTICE_FAILED, **about, error=words, again_s=round(wait_s))

    def _receiver_of(self, job_id: JobId) -> Receiver | None:
        from orchestrator.providers.webhook import receiver_of_job

        notify = self.workspace.context(job_id).spec.notify
        return None if notify is None else receiver_of_job(notify, self.workspace.environment)

    def _look_at_budgets(self) -> None:
        """Add a notice for each running job that waits for its budget: no step records that it waits."""
        if time.monotonic() < self._budgets_at:
            return
        self._budgets_at = time.monotonic() + BUDGETS_S
        now = self.workspace.clock.now()
        for job in self.workspace.admin.jobs():
            if self._may_wait(job) and not self.workspace.notices.told_of_budget(job.id, now=now):
                words = self.workspace.ledger.totals(job.id).budget_wait(job.policy.budget_usd)
                if words:
                    self.workspace.notices.waits_for_budget(job.id, words, now=now)

    def _may_wait(self, job: Job) -> bool:
        if job.state is not JobState.RUNNING or job.policy.budget_usd is None:
            return False
        own = own_kinds(job.spec)
        wanted = own if own is not None else self.default.on if self.default is not None else ()
        return Kind.BUDGET in wanted
