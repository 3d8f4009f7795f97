"""What an error bears: the words of who raised it, and the provider's own status and request id."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import BadRequest, CreateRefused, ProviderError, RateLimited, TransientError


@pytest.mark.parametrize("kind", [ProviderError, TransientError, RateLimited, BadRequest])
def test_an_error_of_the_provider_bears_its_words_and_nothing_that_was_not_said(kind: type[ProviderError]) -> None:
    error = kind("the words")

    assert (str(error), error.args) == ("the words", ("the words",))
    assert (error.status, error.request_id) == (None, "")
    assert getattr(error, "retry_after_s", None) is None


def test_what_the_provider_said_is_kept() -> None:
    error = TransientError("slow", status=429, request_id="req-1", retry_after_s=2.5)

    assert (error.status, error.request_id, error.retry_after_s) == (429, "req-1", 2.5)


def test_a_refusal_speaks_the_words_of_its_error() -> None:
    refusal = CreateRefused(BadRequest("malformed"))

    assert (str(refusal), refusal.args) == ("malformed", ("malformed",))
