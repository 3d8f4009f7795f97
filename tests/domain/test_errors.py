"""The error tree: what a caller who catches one of them must not catch with it."""

from __future__ import annotations

from orchestrator.domain import errors


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
