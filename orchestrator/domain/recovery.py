"""What to do about a create whose answer nobody has: decided from what the provider can be asked.

Rule 1: nothing here sends a create, but in class A, where the same one sent again makes nothing new. The way back to
        PLANNED is a proof of absence, or a price the user has agreed to.
Rule 2: what the side journal says is the provider's own answer, and settles it.
Rule 3: another key may be another account's, and what that one says of absence is nothing: what it finds under our
        token is ours, but nothing is fenced, repeated or given up on its word. The chunk is held until the key that
        the create was sent with is back, or one that is shown to be of the same account.
Rule 4: an absence is proved by two looks, a whole wait apart: a machine's clock that is set forward spoils one wait.

    A   the provider knows our token again: send the same create again, for as long as it surely does.
    B1  list + our mark + an input file that can be deleted: list; found -> adopt. Else delete the file (a create still
        on its way must fail now), wait out the list's lag, list again, twice; still nothing -> it never was.
    B2  list + our mark: wait until no create can still be on its way, list; wait as long, list again; nothing -> so.
    C   nothing to ask: hold for a person, or send again within `max_duplicate_usd`.

Source: RELIABILITY §3.4; "list, delete, list" had no double payment in 2,000 seeds, "list at once" in 425 of 1,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from orchestrator.domain.model import BatchId, Chunk, ChunkState
from orchestrator.domain.policy import OnAmbiguous, Policy


class Recovery(StrEnum):
    """What a provider can be asked after a create whose answer was lost."""

    KEYED = "A"
    FENCED = "B1"
    SETTLED = "B2"
    UNKNOWABLE = "C"


GUARANTEE = {
    Recovery.KEYED: "no chunk is ever created twice: a lost create is sent again under its own token, which the "
    "provider knows",
    Recovery.FENCED: "no chunk is ever created twice: a lost create is looked up, and fenced by its input file",
    Recovery.SETTLED: "no chunk is created twice, unless a create takes effect later than the time it is given: a lost "
    "create is looked up once nothing can be on its way any more",
    Recovery.UNKNOWABLE: "no chunk is ever created twice by itself: this provider cannot be asked about a lost create, "
    "so its rows are held until `orchestrator resolve` says what happened",
}


OTHER_KEY = "other_key"  # why a chunk is held that goes on by itself once the key is back
FORGOTTEN = "the answer to the create was lost, and the provider may no longer know its token"
UNASKED = "the answer to the create was lost, and nothing can be asked about it"


@dataclass(frozen=True, slots=True)
class Adopt:
    """The batch exists; `duplicate_batches` are further batches of the same attempt, to be cancelled."""

    batch_id: BatchId
    duplicate_batches: tuple[BatchId, ...] = ()


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The create has run out of time: its answer counts as lost."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Too early to tell."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Fence:
    """Delete the input file."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing is there, and from now on nothing can come: one more look, a whole wait later, settles it."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Send the same create under the same token."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The attempt made no batch; `abandoned` says that this is the user's wager, not a proof."""

    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """Only a person can tell."""

    reason: str


@dataclass(frozen=True, slots=True)
class NeedsKey:
    """The key that is in now cannot tell: wait for the one that the create was sent with."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """The key is back: what was held for its sake is in doubt again, and can be looked up."""


Decision = Adopt | Ambiguous | Wait | Fence | LookAgain | Repeat | Absent | NeedsPerson | NeedsKey | Reopen


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long things may take at a provider, seconds; see `Traits`."""

    settle_s: float  # a create
    lag_s: float  # a new batch, to be listed
    late_s: float = 0.0  # a create that nobody waits for any more, to make its batch
    key_s: float = 0.0  # to forget a create's token


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known at the time of the decision."""

    now: datetime
    journal: BatchId | None  # what the side journal says
    listed: Sequence[BatchId]  # batches that bear the attempt's mark, oldest first; empty where none can be listed
    possibly_double_paid_usd: Decimal  # what attempts abandoned so far may cost twice
    is_other_key: bool = False  # the key is not the attempt's, and is not shown to be of the same account


def is_other(sent_with: str, present: str) -> bool:
    """Say whether two marks are of two keys; a mark that is not known tells nothing."""
    return bool(sent_with and present) and sent_with != present


def other_key_words(what: str, account: str) -> str:
    """Return why a chunk is held for the key's sake, and what to do."""
    variable = account.rpartition("/")[2]
    return (
        f"{what} with another key than the one that is in {variable} now, and this one does not know it: "
        "put that key back, and the job goes on by itself"
    )


def decide(chunk: Chunk, evidence: Evidence, *, recovery: Recovery, policy: Policy, bounds: Bounds) -> Decision:
    """Decide the next move for a chunk in SUBMITTING, AMBIGUOUS or HELD."""
    assert (
        chunk.state in (ChunkState.SUBMITTING, ChunkState.AMBIGUOUS, ChunkState.UNRESOLVED)
        and chunk.sent_at is not None
    )
    if evidence.journal is not None and not (chunk.state is ChunkState.UNRESOLVED and evidence.is_other_key):
        return Adopt(evidence.journal)  # held: a batch that this key's account does not know, so asking it is in vain
    settled_at = chunk.sent_at + timedelta(seconds=bounds.settle_s)
    if chunk.state is ChunkState.SUBMITTING:
        return Ambiguous() if evidence.now >= settled_at else Wait(settled_at)
    if evidence.listed:
        return Adopt(evidence.listed[0], tuple(evidence.listed[1:]))
    resubmit = _resubmit(chunk, evidence, policy) if recovery is Recovery.UNKNOWABLE else None
    if isinstance(resubmit, Absent):
        return resubmit
    if chunk.state is ChunkState.UNRESOLVED:
        is_back = chunk.error_code == OTHER_KEY and not evidence.is_other_key
        return Reopen() if is_back else Wait(evidence.now + timedelta(seconds=bounds.settle_s))
    if resubmit is not None:
        return resubmit
    if evidence.is_other_key:
        return NeedsKey()
    if policy.on_ambiguous is OnAmbiguous.HOLD:
        return NeedsPerson(UNASKED)
    if recovery is Recovery.KEYED:
        known_until = chunk.sent_at + timedelta(seconds=bounds.key_s)
        return Repeat() if evidence.now < known_until else NeedsPerson(FORGOTTEN)
    return _prove(chunk, evidence, recovery, bounds)  # who can be asked is asked, also under "resubmit"


def _prove(chunk: Chunk, evidence: Evidence, recovery: Recovery, bounds: Bounds) -> Decision:
    assert chunk.sent_at is not None
    late_s = bounds.late_s if recovery is Recovery.SETTLED else 0.0
    if chunk.fenced_at is None:
        if recovery is Recovery.FENCED:
            return Fence()
        quiet_at = chunk.sent_at + timedelta(seconds=late_s)
        return LookAgain() if evidence.now >= quiet_at else Wait(quiet_at)
    visible_at = chunk.fenced_at + timedelta(seconds=late_s + bounds.lag_s)
    if evidence.now < visible_at:
        return Wait(visible_at)
    return Absent() if chunk.tries else LookAgain()


def _resubmit(chunk: Chunk, evidence: Evidence, policy: Policy) -> NeedsPerson | Absent:
    if policy.on_ambiguous is not OnAmbiguous.RESUBMIT:
        return NeedsPerson(UNASKED)
    if chunk.cost_usd_max is None:
        return NeedsPerson("the answer to the create was lost; no price is known, so max_duplicate_usd cannot be kept")
    if evidence.possibly_double_paid_usd + chunk.cost_usd_max > policy.max_duplicate_usd:
        return NeedsPerson("the answer to the create was lost, and sending again could pass policy.max_duplicate_usd")
    return Absent(abandoned=True)
