"""What can go wrong at the simulated provider, as chances per call, per batch, per row or per line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tests.fakes.dice import Dice, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Chances in [0, 1]; none by default: a provider on a calm day."""

    # of a create
    refused: float = 0.0  # 429, or a documented 503
    bad_request: float = 0.0
    not_authorized: float = 0.0
    unready: float = 0.0  # its input file is not processed yet
    lost_before: float = 0.0  # in doubt, and nothing happened
    lost_after: float = 0.0  # in doubt, and the batch exists
    late: float = 0.0  # in doubt, and the batch will exist
    odd: float = 0.0  # answered with success and not understood; the batch exists
    page: float = 0.0  # the same, and nothing happened: a web page of something in between
    doubled: float = 0.0  # of lost answers: the provider made two batches of one POST
    # of any other call
    transient: float = 0.0
    stale: float = 0.0  # of a status: what was true a while ago
    # of a batch
    young_unknown: float = 0.0  # 404 for the first while
    failed: float = 0.0
    expired: float = 0.0
    rejected: float = 0.0
    slow: float = 0.0
    gone: float = 0.0  # results are not there at first
    gone_for_good: float = 0.0
    cut: float = 0.0  # results are short at first
    cut_for_good: float = 0.0
    reordered: float = 0.0
    # of a row
    row_retryable: float = 0.0
    row_permanent: float = 0.0
    # of a line
    missing: float = 0.0
    unreadable: float = 0.0
    duplicated: float = 0.0
    differing: float = 0.0
    foreign: float = 0.0


CALM = Rates()
ROUGH = Rates(
    refused=0.06,
    bad_request=0.01,
    not_authorized=0.005,
    unready=0.05,
    lost_before=0.06,
    lost_after=0.08,
    late=0.08,
    odd=0.02,
    page=0.01,
    doubled=0.2,
    transient=0.06,
    stale=0.1,
    young_unknown=0.1,
    failed=0.07,
    expired=0.08,
    rejected=0.06,
    slow=0.1,
    gone=0.08,
    gone_for_good=0.01,
    cut=0.08,
    cut_for_good=0.01,
    reordered=0.5,
    row_retryable=0.06,
    row_permanent=0.03,
    missing=0.02,
    unreadable=0.02,
    duplicated=0.04,
    differing=0.03,
    foreign=0.04,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Chances of what public reports tell of providers. They have dice of their own: seeds without them stay as they
    are.
    """

    same_id: float = 0.0  # of a create: answered with the id of an earlier batch of the job
    others_id: float = 0.0  # the same, of another job: it may have ended long ago
    unpaid: float = 0.0  # of a row: 402, for want of credit
    truncated: float = 0.0  # of an answer: it ends at the limit of its tokens
    refused: float = 0.0  # the same: the model or a filter refuses
    invalid_json: float = 0.0  # of an answer that is to be of a schema
    schema_mismatch: float = 0.0  # the same
    unknown_shape: float = 0.0  # of a batch: its answers have a form that no reader knows yet


NOT_REPORTED = Reported()


class Temper:
    """A provider's day: its rates, and the dice that they are thrown with."""

    def __init__(
        self, rates: Rates, seed: str, *, only: Collection[Fault] | None = None, reported: Reported = NOT_REPORTED
    ) -> None:
        self.rates = rates
        self.reported = reported
        self.dice = Dice(seed, only=only)
        self.more_dice = Dice(f"reported/{seed}", only=only)

    def is_so(self, kind: str) -> bool:
        """Say whether this goes wrong now."""
        return self.dice.fires(kind, getattr(self.rates, kind))

    def is_reported(self, kind: str) -> bool:
        """Say the same of what reports tell."""
        rate = getattr(self.reported, kind)
        return bool(rate) and self.more_dice.fires(kind, rate)
