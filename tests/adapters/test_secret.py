"""A key shows itself to nobody, and a provider's words are made fit for a log."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.providers.http.secret import MESSAGE_LENGTH_MAX, Secret, redacted

KEY = Secret("sk-canary-9f86d081884c7d65")


def test_a_secret_shows_itself_only_when_told_to() -> None:
    assert f"{KEY} {KEY!r} {[KEY]} {KEY!s}" == "*** *** [***] ***"
    assert KEY.reveal() == "sk-canary-9f86d081884c7d65"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars])
def test_a_secret_cannot_be_taken_along(take: object) -> None:
    with pytest.raises(TypeError):
        take(KEY)  # type: ignore[operator]


def test_a_mark_tells_keys_and_places_apart_and_shows_nothing_of_the_key() -> None:
    """It stands in the ledger: always the same for one key at one place, or a job would not know its own key again."""
    other = Secret("sk-canary-9f86d081884c7d66")

    assert KEY.mark("https://api.example:443/v1") == KEY.mark("https://api.example:443/v1") == "040931cd9059"
    assert len({KEY.mark("a"), KEY.mark("b"), other.mark("a"), other.mark("b")}) == 4


@pytest.mark.parametrize("value", ["", " sk-1", "sk-1\n", "sk 1", "clé", "sk-\x00"])
def test_what_cannot_stand_in_a_header_is_no_key(value: str) -> None:
    """It would be quoted in the error of whoever tries to send it."""
    with pytest.raises(ConfigError) as caught:
        Secret(value)

    assert not value.strip() or value.strip() not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no key 'sk-canary-9f86d081884c7d65' here", "no key '***' here"),
        ("Authorization: Bearer abc123def456 is wrong", "Authorization: Bearer *** is wrong"),
        ("Bearer authentication is required", "Bearer authentication is required"),
        ("line one\r\nline two\x1b[31m\u202egnol\u2028end\x00", "line one line two [31m gnol end"),
        ("  spaced   out ", "spaced out"),
        ("无可用渠道", "无可用渠道"),
    ],
)
def test_words_are_one_clean_line_without_the_key(text: str, expected: str) -> None:
    assert redacted(text, KEY) == expected


def test_words_are_cut_after_the_key_is_blacked_out() -> None:
    text = redacted("x" * (MESSAGE_LENGTH_MAX - 10) + KEY.reveal() + "y" * 100, KEY)

    assert len(text) == MESSAGE_LENGTH_MAX
    assert "sk-can" not in text
