"""The tree of errors that the orchestrator raises; the class of an error says whether to retry.

OrchestratorError
├── ConfigError              the operator must change something; never retried
│   ├── JobConflict          a job of this name is not finished, and this would be another one
│   ├── JobUnknown           the work folder has no such job
│   └── LedgerBusy           other processes work on this ledger (JobBusy: on this job)
├── DatasetError             the input cannot be read as declared; never retried
├── JobNotFinished           a job has no complete result; running it again resumes it
│   ├── JobStopped           it cannot continue without a person; the message says why and what to do
│   │   └── JobNeedsDecision it goes on only once a person has approved it: `orchestrator approve`
│   ├── JobUnresolved        a person must find out whether some creates made batches: `orchestrator resolve`
│   ├── JobInterrupted       this process was asked to stop; everything recorded is kept
│   └── JobTimeout           the timeout of `wait` has passed; the job continues. Also a TimeoutError
├── ProviderError            a call to the provider failed; keeps the provider's message apart from its own
│   ├── TransientError       the same call may succeed later: RateLimited, Unavailable (UploadUnusable)
│   ├── PermanentError       it will not: BadRequest (Misplaced), NotAuthorized, TooLarge, Gone
│   └── Unidentified         a batch may be a lost create's, and the provider shows nothing that tells
├── CreateRefused            a create that is *known* to have made nothing; holds the ProviderError that proves it
├── CreateAmbiguous          a create that may have made a batch; never repeated, always looked up
├── StorageError             the work folder cannot be read or written
├── LedgerError              LeaseLost (stop quietly), IllegalTransition (a bug: stop loudly), BudgetExhausted,
│                            BatchTaken (two creates were answered with one batch),
│                            CommandRefused (not in this state of the job), LedgerTooNew,
│                            LedgerAway (another try may succeed)
├── OutputError              the output would be incomplete or wrong
└── Interrupted              a step was asked to stop; it recorded nothing, and its unit is due again
"""

from __future__ import annotations

from typing import ClassVar

from orchestrator.domain.faults import MISPLACED, Fault


class OrchestratorError(Exception):
    """The base class of every error that this package raises on purpose."""


def public_message(error: BaseException) -> str:
    """Return the message of our own error, and only the type of any other: its message may quote a row."""
    return str(error) if isinstance(error, OrchestratorError) else type(error).__name__


class ConfigError(OrchestratorError):
    """A setting, a job file or an argument is wrong; the message names it and says what to do."""


class JobConflict(ConfigError):
    """A job of the same name is not finished, and differs from this one: the message says how, and what to do."""


class JobUnknown(ConfigError):
    """The work folder has no such job, or there is no such folder."""


class LedgerBusy(ConfigError):
    """Other processes work on this ledger; the message names them and says what to do."""


class JobBusy(LedgerBusy):
    """Another process of this machine runs the job."""


class DatasetError(OrchestratorError):
    """The dataset cannot be read as declared; the message names the file, the row or the column."""


class JobNotFinished(OrchestratorError):
    """The job has no complete result. Running it again resumes it, and sends nothing twice."""


class JobStopped(JobNotFinished):
    """The job cannot continue without a person; the message says why and what to do. Running it again resumes it."""


class JobNeedsDecision(JobStopped):
    """The job goes on only once a person has approved it: see `JobHandle.approve` or `orchestrator approve`."""


class JobUnresolved(JobNotFinished):
    """A person must resolve some ambiguous creates: see `JobHandle.unresolved` or `orchestrator resolve`."""


class JobInterrupted(JobNotFinished):
    """This process was asked to stop. Running the job again resumes it."""


class JobTimeout(JobNotFinished, TimeoutError):
    """The job has not ended within the timeout of `wait`; it continues."""


class ProviderError(OrchestratorError):
    """A provider answered with an error, or did not answer. The error's message never quotes a request.

    `provider_message` is the provider's own text. It may quote a row: it is written to a private file only.
    `fault` says who must act for the same call to succeed; `retry_after_s`, how long the provider wants us to wait;
    `places`, which requests of a create the provider names (from 0); `tokens_max`, which limit of queued tokens;
    `names_no_file`, that it says there is no such input file.
    """

    usual_fault: ClassVar[Fault] = Fault.TRANSIENT

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str = "",
        provider_message: str = "",
        fault: Fault | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.provider_message = provider_message
        self.fault = fault or self._usual_fault()
        self.retry_after_s = retry_after_s
        self.places: tuple[int, ...] = ()
        self.tokens_max: int | None = None
        self.names_no_file = False

    def _usual_fault(self) -> Fault:
        return self.usual_fault


class TransientError(ProviderError):
    """The same call may succeed later."""


class RateLimited(TransientError):
    """429: the account is over a limit of requests, tokens or batches."""


class Unavailable(TransientError):
    """No connection, a timeout, a 5xx, an unreadable answer."""


class UploadUnusable(Unavailable):
    """An upload succeeded, but what the provider says it has cannot be used; after a few tries a person must look."""


class PermanentError(ProviderError):
    """The same call would fail again."""

    usual_fault = Fault.ROW


class BadRequest(PermanentError):
    """The provider refuses the request itself (400, 404, 422 …)."""

    def _usual_fault(self) -> Fault:
        return Fault.JOB if self.status in MISPLACED else self.usual_fault


class Misplaced(BadRequest):
    """No such API is at the address: a 404, a redirect, a web page. No request is at fault."""

    usual_fault = Fault.JOB


class NotAuthorized(PermanentError):
    """401, 402, 403: the credential, the credits or the permission. It concerns the account, not one chunk."""

    usual_fault = Fault.ACCOUNT


class TooLarge(PermanentError):
    """413, or "too many requests in one batch": the chunk must be cut in two."""

    usual_fault = Fault.SIZE


class Gone(PermanentError):
    """The batch or its result file no longer exists (403, 404 or 410 for an object that did exist)."""

    usual_fault = Fault.PLATFORM


class Unidentified(ProviderError):
    """A batch at the provider may be that of a lost create, and nothing there will ever tell whether it is."""


class CreateRefused(OrchestratorError):
    """The provider certainly created nothing; `error` says why."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(str(error))
        self.error = error


class CreateAmbiguous(OrchestratorError):
    """The create may or may not have made a batch: look it up. `provider_message`: see ProviderError.

    `answer` is what a create was answered with that succeeded and was not understood; None where that is not so. It is
    written to a private file only. Where the answer `is_cut`, the next one may come whole.
    """

    def __init__(
        self, message: str, *, provider_message: str = "", answer: bytes | None = None, is_cut: bool = False
    ) -> None:
        super().__init__(message)
        self.provider_message = provider_message
        self.answer = answer
        self.is_cut = is_cut


class StorageError(OrchestratorError):
    """The work folder or the output cannot be read or written; the message names the path."""


class LedgerError(OrchestratorError):
    """The ledger refuses an operation."""


class CommandRefused(LedgerError):
    """A person's command does not fit the state that the job is in; the message says what does."""


class LeaseLost(LedgerError):
    """Another worker has changed this unit. Stop quietly: nothing was written."""


class IllegalTransition(LedgerError):
    """A transition that the lifecycle does not have: a bug, so the step fails loudly."""


class LedgerAway(LedgerError):
    """The ledger cannot be reached at present, or is locked."""


class LedgerTooNew(LedgerError):
    """A newer version of the program wrote this ledger; upgrade this installation."""


class BudgetExhausted(LedgerError):
    """The next batch could exceed the job's budget; nothing was reserved."""


class BatchTaken(LedgerError):
    """A create was answered with the batch of another create; nothing was written."""

    def __init__(self, message: str, owner: str = "") -> None:
        super().__init__(message)
        self.owner = owner  # the chunk of the other create; "": not known


class OutputError(OrchestratorError):
    """The output's row counts are inconsistent, or the source has changed since it was planned."""


class Interrupted(OrchestratorError):
    """The process was asked to stop. The step records nothing and releases its unit."""
