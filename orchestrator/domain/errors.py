"""Every error the orchestrator raises, and the one question each answers: is another try worth it?

OrchestratorError
├── ConfigError              the operator must change something; never retried
│   └── LedgerBusy           others are at work on this ledger
├── DatasetError             the input cannot be read as declared; never retried
├── JobNotFinished           a job has no complete result; running it again goes on where it was
│   ├── JobStopped           it cannot go on by itself; the message says why and what to do
│   ├── JobUnresolved        a person must say what became of some creates: `orchestrator resolve`
│   ├── JobInterrupted       this process was asked to stop; what is recorded stays
│   └── JobTimeout           the time that `wait` was given is over; the job goes on. A TimeoutError, too
├── ProviderError            a call to the provider failed; keeps the provider's own words apart from its message
│   ├── TransientError       the same call may succeed later: RateLimited, Unavailable
│   └── PermanentError       it will not: BadRequest, NotAuthorized, TooLarge, Gone
├── CreateRefused            a create that is *known* to have made nothing; bears the ProviderError that says so
├── CreateAmbiguous          a create that may have made a batch; never repeated, always reconciled
├── StorageError             the work folder cannot be read or written
├── LedgerError              LeaseLost (stop quietly), IllegalTransition (a bug: stop loudly), BudgetExhausted,
│                            LedgerTooNew, LedgerAway (another try may succeed)
├── OutputError              a finished file would not be what it claims to be
└── Interrupted              a step was told to stop; nothing half done was recorded, and its unit is due again
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """The root; catching it catches everything this package raises on purpose."""


def public_message(error: BaseException) -> str:
    """Return what may be shown and kept of an error: our own words, or another's kind, as its words may quote a row."""
    return str(error) if isinstance(error, OrchestratorError) else type(error).__name__


class ConfigError(OrchestratorError):
    """A setting, a job file or an argument is wrong; the message names it and says what to do."""


class LedgerBusy(ConfigError):
    """Others are at work on this ledger; the message says who, and what to do."""


class DatasetError(OrchestratorError):
    """The dataset cannot be read as declared; the message names the file, the row or the column."""


class JobNotFinished(OrchestratorError):
    """The job has no complete result. Running it again goes on where it was, and sends nothing twice."""


class JobStopped(JobNotFinished):
    """The job cannot go on by itself; the message says why and what to do. Running it again resumes it."""


class JobUnresolved(JobNotFinished):
    """Only a person can tell what became of some creates: see `JobHandle.unresolved` or `orchestrator resolve`."""


class JobInterrupted(JobNotFinished):
    """This process was asked to stop. Running the job again goes on where it was."""


class JobTimeout(JobNotFinished, TimeoutError):
    """The job has not ended in the time that `wait` was given; it goes on."""


class ProviderError(OrchestratorError):
    """A provider answered with an error, or did not answer. Its message never bears request contents.

    `provider_message` is the provider's own text: it may quote a row, and goes into a private file or nowhere.
    """

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str = "", provider_message: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.provider_message = provider_message


class TransientError(ProviderError):
    """The same call may succeed later."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str = "",
        provider_message: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, provider_message=provider_message)
        self.retry_after_s = retry_after_s


class RateLimited(TransientError):
    """429: the account is over a limit of requests, tokens or batches."""


class Unavailable(TransientError):
    """No connection, a timeout, a 5xx, an unreadable answer."""


class PermanentError(ProviderError):
    """The same call will fail the same way."""


class BadRequest(PermanentError):
    """The provider refuses the request itself (400, 404, 422 …)."""


class NotAuthorized(PermanentError):
    """401, 402, 403: the credential, the credits or the permission. Concerns the account, not one chunk."""


class TooLarge(PermanentError):
    """413, or "too many requests in one batch": the chunk must be cut in two."""


class Gone(PermanentError):
    """The batch or its result file is no longer there (403, 404 or 410 on something we know existed)."""


class CreateRefused(OrchestratorError):
    """Nothing was created, and that is certain; `error` says why."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(str(error))
        self.error = error


class CreateAmbiguous(OrchestratorError):
    """A batch may or may not exist. The only lawful next move is to find out. `provider_message`: see ProviderError."""

    def __init__(self, message: str, *, provider_message: str = "") -> None:
        super().__init__(message)
        self.provider_message = provider_message


class StorageError(OrchestratorError):
    """The work folder or the output cannot be read or written; the message names the path."""


class LedgerError(OrchestratorError):
    """The ledger refuses."""


class LeaseLost(LedgerError):
    """Somebody else moved this unit meanwhile. Stop quietly: nothing was written."""


class IllegalTransition(LedgerError):
    """A move that the lifecycle does not know. A bug: stop loudly."""


class LedgerAway(LedgerError):
    """The ledger cannot be reached, or is locked by others, at present."""


class LedgerTooNew(LedgerError):
    """A newer version of the program wrote this ledger; upgrade this one."""


class BudgetExhausted(LedgerError):
    """The next batch could take the job over its budget; nothing was reserved."""


class OutputError(OrchestratorError):
    """What would be published does not add up, or the source changed since it was planned."""


class Interrupted(OrchestratorError):
    """The process was told to stop. The step ends without recording anything, and gives its unit back."""
