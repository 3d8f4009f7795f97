"""When to retry and when to stop: decisions as values; random numbers are arguments.

Delays are "full jitter": a uniform draw below a ceiling that doubles (AWS Architecture Blog, "Exponential Backoff And
Jitter", 2015), never below the provider's Retry-After.
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.errors import Gone, NotAuthorized, PermanentError, ProviderError
from orchestrator.domain.policy import Policy

DELAY_S_MIN: Final = 1.0
DELAY_S_MAX: Final = 300.0
POLLS_PAUSE_S: Final = 5.0  # after a 429 without Retry-After: its limit is most likely one of calls per minute
POLLS_PAUSE_S_MAX: Final = 3_600.0  # a single answer must not stop an account's polls for a day
POLL_FIRST_S: Final = 1.0  # an early poll, in case the batch is refused or done at once
POLL_AGE_FRACTION: Final = 0.05  # a batch is asked about every twentieth of its age
REFUSALS_MAX: Final = 64  # consecutive failures of one call; with the waits between them, two to three hours
REFUSALS_UNCOUNTED: Final = 8  # the upper bound of the count when the kind of failure changes


def backoff_s(tries: int, *, draw: float, floor_s: float | None = None) -> float:
    """Return how long to wait after failure number `tries` (1-based). `draw` is uniform in [0, 1)."""
    ceiling_s = min(DELAY_S_MAX, DELAY_S_MIN * 2.0 ** min(tries, 16))
    return max(floor_s or 0.0, DELAY_S_MIN / 2 + draw * ceiling_s)


def is_refusal(error: ProviderError) -> bool:
    """Return whether the provider refuses the request itself, and not the account or the time."""
    return isinstance(error, PermanentError) and not isinstance(error, NotAuthorized | Gone)


def refused_tries(error: ProviderError, *, tries: int, were_refusals: bool) -> tuple[int, bool]:
    """Count one more failure of a call; return the count, and whether these are refusals.

    Where the kind of failure changes, the count restarts at a few at most: a provider that was unavailable for hours
    and then refuses once has not refused for hours. The waits stay long.

    Args:
        tries: failures in a row, so far.
        were_refusals: whether the last of them was such a refusal.
    """
    refused = is_refusal(error)
    return (tries if refused == were_refusals else min(tries, REFUSALS_UNCOUNTED)) + 1, refused


def polls_pause_s(wait_s: float) -> float:
    """Return how long no batch of the account is polled, after a 429 that postpones one of them by `wait_s`."""
    return min(wait_s, POLLS_PAUSE_S_MAX)


def first_poll_s(policy: Policy) -> float:
    """Return the wait between a batch's creation and its first poll."""
    return min(POLL_FIRST_S, policy.poll_s_min)


def poll_s(age_s: float, policy: Policy, *, draw: float) -> float:
    """Return the wait before the next poll of a running batch, given its age; a tenth is random, against herds."""
    calm_s = min(policy.poll_s_max, max(policy.poll_s_min, age_s * POLL_AGE_FRACTION))
    return calm_s * (0.95 + 0.1 * draw)
