"""A credential that cannot be logged, printed or stored by accident."""

from __future__ import annotations

import hmac
import re
import unicodedata
from typing import Final, Never

from orchestrator import log
from orchestrator.domain.errors import ConfigError

MESSAGE_LENGTH_MAX: Final = 300
MARK_LENGTH: Final = 12
# Never change it: every mark in a ledger would no longer match its key.
_MARKING: Final = b"batch-orchestrator: which key was it? 1\n"
_SENDABLE: Final = re.compile(r"[!-~]+")  # the characters allowed in a header: others would be quoted in an error


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
