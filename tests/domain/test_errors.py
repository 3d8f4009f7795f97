"""The error tree: what it says of itself is what it is."""

from __future__ import annotations

import inspect
import re

from orchestrator.domain import errors

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if found.__module__ == errors.__name__]
PARENTS = {  # by hand
    "OrchestratorError": "Exception",
    "ConfigError": "OrchestratorError",
    "JobUnknown": "ConfigError",
    "LedgerBusy": "ConfigError",
    "JobBusy": "LedgerBusy",
    "DatasetError": "OrchestratorError",
    "JobNotFinished": "OrchestratorError",
    "JobConflict": "ConfigError",
    "JobStopped": "JobNotFinished",
    "JobNeedsDecision": "JobStopped",
    "JobUnresolved": "JobNotFinished",
    "JobInterrupted": "JobNotFinished",
    "JobTimeout": "JobNotFinished",
    "ProviderError": "OrchestratorError",
    "TransientError": "ProviderError",
    "RateLimited": "TransientError",
    "Unavailable": "TransientError",
    "UploadUnusable": "Unavailable",
    "PermanentError": "ProviderError",
    "BadRequest": "PermanentError",
    "Misplaced": "BadRequest",
    "NotAuthorized": "PermanentError",
    "TooLarge": "PermanentError",
    "Gone": "PermanentError",
    "Unidentified": "ProviderError",
    "CreateRefused": "OrchestratorError",
    "CreateAmbiguous": "OrchestratorError",
    "StorageError": "OrchestratorError",
    "LedgerError": "OrchestratorError",
    "CommandRefused": "LedgerError",
    "LeaseLost": "LedgerError",
    "IllegalTransition": "LedgerError",
    "BudgetExhausted": "LedgerError",
    "BatchTaken": "LedgerError",
    "LedgerTooNew": "LedgerError",
    "LedgerAway": "LedgerError",
    "OutputError": "OrchestratorError",
    "Interrupted": "OrchestratorError",
}


def test_the_tree_is_this() -> None:
    assert {found.__name__: found.__mro__[1].__name__ for found in CLASSES} == PARENTS


def test_the_modules_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    assert [found for found in CLASSES if not re.search(rf"\b{found.__name__}\b", errors.__doc__)] == []


def test_a_timeout_of_a_job_is_pythons_own_timeout_too() -> None:
    assert issubclass(errors.JobTimeout, TimeoutError)


def test_an_ambiguous_create_is_neither_a_refusal_nor_an_error_of_the_provider() -> None:
    """Whoever catches a refusal to send again must not catch a doubt with it."""
    assert not issubclass(errors.CreateAmbiguous, errors.CreateRefused | errors.ProviderError)


def test_a_refusal_bears_the_error_that_says_why() -> None:
    error = errors.RateLimited("busy", status=429, request_id="req-1", retry_after_s=30)

    refusal = errors.CreateRefused(error)

    assert refusal.error is error
    assert str(refusal) == "busy"
    assert (error.status, error.request_id, error.retry_after_s) == (429, "req-1", 30)
