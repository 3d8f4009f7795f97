"""What an error bears: the words of who raised it, and the provider's own status and request id."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import (
    BadRequest,
    ConfigError,
    CreateAmbiguous,
    CreateRefused,
    ProviderError,
    RateLimited,
    TransientError,
    public_message,
)


@pytest.mark.parametrize("kind", [ProviderError, TransientError, RateLimited, BadRequest])
def test_an_error_of_the_provider_bears_its_words_and_nothing_that_was_not_said(kind: type[ProviderError]) -> None:
    error = kind("the words")

    assert (str(error), error.args) == ("the words", ("the words",))
    assert (error.status, error.request_id, error.provider_message) == (None, "", "")
    assert getattr(error, "retry_after_s", None) is None


def test_what_the_provider_said_is_kept() -> None:
    error = TransientError("slow", status=429, request_id="req-1", provider_message="slow down", retry_after_s=2.5)

    assert (error.status, error.request_id, error.provider_message) == (429, "req-1", "slow down")
    assert error.retry_after_s == 2.5


@pytest.mark.parametrize(
    "error", [BadRequest("no", provider_message="a row"), CreateAmbiguous("no", provider_message="a row")]
)
def test_what_the_provider_said_is_kept_apart_from_the_words_that_are_shown(
    error: BadRequest | CreateAmbiguous,
) -> None:
    """It may quote a row."""
    assert error.provider_message == "a row"
    assert "a row" not in str(error) + repr(error) + public_message(error)


def test_an_ambiguous_create_without_an_answer_has_no_provider_message() -> None:
    assert CreateAmbiguous("no answer").provider_message == ""


def test_the_words_of_an_error_that_is_not_ours_are_not_shown() -> None:
    """A library's words may quote what it was reading."""
    assert public_message(ConfigError("key: missing")) == "key: missing"
    assert public_message(ValueError("a row")) == "ValueError"


def test_a_refusal_speaks_the_words_of_its_error() -> None:
    refusal = CreateRefused(BadRequest("malformed"))

    assert (str(refusal), refusal.args) == ("malformed", ("malformed",))
