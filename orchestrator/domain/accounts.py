"""What the ledger knows of an account at one moment: its limits, its pause, and the jobs that share it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.model import JobId, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRate:
    """A limit of calls a minute."""

    calls: str  # "polls", "creates"
    per_minute_max: int | None  # None: no limit but the provider's own, which it has just told
    next_at: datetime | None  # when the next one may go; None: now


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountJob:
    """A job of the account that has not ended, with its batches."""

    job_id: JobId
    name: str
    state: JobState
    is_paused: bool  # by a person: it sends nothing
    in_flight: int  # batches that count against the account's limit, also unresolved ones
    unresolved: int
    unsent: int
    in_flight_max: int  # policy.batches_in_flight_max: of the account, as this job has it


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLook:
    """An account."""

    name: str  # provider and the variable of its key
    at: datetime
    pause: str  # why it may not send at present; "" where it may
    paused_until: datetime | None
    pause_count: int  # pauses in a row
    needs_person: bool  # it cannot go on with this key
    is_probing: bool  # no create has succeeded since its last pause: one is tried at a time
    learned_max: int | None  # how many batches its queue takes at present, by what was learned
    learned_at: datetime | None
    rates: tuple[AccountRate, ...]
    jobs: tuple[AccountJob, ...]  # in the order in which their batches are sent

    @property
    def in_flight(self) -> int:
        """Batches that count against the limit."""
        return sum(one.in_flight for one in self.jobs)

    @property
    def in_flight_max(self) -> int | None:
        """How many batches may be in flight, by the jobs' policies or by what was learned; None: no job says it."""
        found = [one.in_flight_max for one in self.jobs]
        if self.learned_max is not None:
            found = [min(limit, self.learned_max) for limit in found]
        return max(found, default=None)
