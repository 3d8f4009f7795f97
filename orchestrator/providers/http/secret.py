"""A credential that cannot be logged, printed or stored by accident."""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Mapping
from typing import Final, Never

from orchestrator import log
from orchestrator.domain.errors import ConfigError

MESSAGE_LENGTH_MAX: Final = 300
MARK_LENGTH: Final = 12
# Never change it: every mark in a ledger would no longer match its key.
_MARKING: Final = b"batch-orchestrator: which key was it? 1\n"
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d"
_SENDABLE: Final = re.compile(r"[!-~]+")  # the characters allowed in a header: others would be quoted in an error


def key_of(environment: Mapping[str, str], variable: str, owner: str) -> Secret:
    """Return the key in an environment variable. Raises ConfigError that names the variable and what to do.

    Args:
        owner: whose key it is, for the message.
    """
    value = environment.get(variable)
    if value is None:
        raise ConfigError(
            f"the environment variable {variable} is not set: it must hold the API key of {owner}\n"
            f"  export {variable}=YOUR_KEY"
        )
    check_secret(value, variable)
    return Secret(value)


def check_secret(value: str, variable: str, *, what: str = "the API key") -> None:
    """Raise ConfigError for a value that was copied together with something else. The message never shows it."""
    if not value.strip():
        raise ConfigError(f"the environment variable {variable} is empty: it must hold {what}")
    bare = value.strip()
    around = {
        "a line end": value != value.rstrip("\r\n") or value != value.lstrip("\r\n"),
        "a space": value != bare,
        "quotes": bare[0] in _QUOTES or bare[-1] in _QUOTES,
    }
    for called, is_there in around.items():
        if is_there:
            raise ConfigError(
                f"the environment variable {variable}: {what} has {called} before or after it. Type "
                f"""`export {variable}="$(printf %s "${variable}" | tr -d '[:space:]"'"\\047")"`, or set it anew"""
            )
    if bare[:7].lower() == "bearer ":
        raise ConfigError(f'the environment variable {variable}: leave out "Bearer", it is added to each request')
    odd = next((found for found in enumerate(bare, 1) if not "!" <= found[1] <= "~"), None)
    if odd is not None:
        raise ConfigError(
            f"the environment variable {variable}: {what} holds a character that none has (U+{ord(odd[1]):04X}, the "
            f"{odd[0]}. of {len(bare)}): copy it again from the provider's page"
        )


class Secret:
    """A key that is shown only by `reveal`: it prints as ***, and cannot be pickled or copied into JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if _SENDABLE.fullmatch(value) is None:
            raise ConfigError("the API key is empty, or holds spaces, line ends or other characters no key has")
        self._value = value
        log.hide(value)

    def reveal(self) -> str:
        """Return the key itself: for the request header, and for nothing else."""
        return self._value

    def mark(self, place: str) -> str:
        """Return a fingerprint that distinguishes this key from others at the same place, and is not reversible.

        Twelve digits of an HMAC: a key cannot be found from them, as keys are long and random; two keys share a mark
        once in 2^48 pairs. The place is included so that one key at two places has two marks.
        """
        return hmac.new(_MARKING + place.encode(), self._value.encode(), "sha256").hexdigest()[:MARK_LENGTH]

    def __repr__(self) -> str:
        return "***"

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret is not pickled or copied")


def redacted(text: str, key: Secret) -> str:
    """Return a provider's text fit for a log: one line, the key replaced, 300 characters at most."""
    text = text.replace(key.reveal(), "***")
    # Category C: control characters, terminal escapes, marks that change the direction of writing.
    text = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text[:20_000])
    text = log.without_secrets(" ".join(text.split()))
    return text if len(text) <= MESSAGE_LENGTH_MAX else text[: MESSAGE_LENGTH_MAX - 1] + "…"
