"""What a seed stands for: datasets, policies, the provider's temper, and what machines and people do meanwhile."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from orchestrator.domain import custom_id
from orchestrator.domain.policy import NullPolicy, OnAmbiguous, Policy, Price
from orchestrator.domain.recovery import Recovery
from tests.fakes.classes import CLASSES
from tests.fakes.faults import NOT_REPORTED, ROUGH, Rates, Reported

BYTES_MAX: Final = 3_000
PRICE: Final = Price(input_usd=Decimal(1), output_usd=Decimal(2))
OUTPUT_TOKENS_MAX: Final = 16
PAUSE_S_MAX: Final = 4_000.0
# Where only time proves an absence, a step must not sleep longer than the time that is given; a watchdog sees to it.
PAUSE_S_MAX_SETTLED: Final = 2_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job, and what its user does with it."""

    number: int
    tables: tuple[Any, ...]
    knows_counts: bool
    policy: Policy
    price: Price | None
    cancel_at_s: float | None
    retries: int  # how often a person retries the job once it has ended
    has_canary: bool = False
    pauses: tuple[tuple[float, float], ...] = ()  # from when until when a person pauses it, in order
    typed: bool = False  # its answers have a schema
    chooses: bool = False  # which rows are retried is chosen by kinds, codes, conditions and keys; requests may change
    follows: bool = False  # it is opened when the jobs before it have ended, and takes the answers of the first

    @property
    def row_count(self) -> int:
        """How many rows its dataset has."""
        return sum(table.num_rows for table in self.tables)

    def equal_rows(self, digest: str) -> dict[str, frozenset[str]]:
        """Return, by custom_id, the rows that are sent as one request; only those that are more than one."""
        if not self.policy.dedupe:
            return {}
        groups = defaultdict[str, set[str]](set)
        for shard_no, table in enumerate(self.tables):
            for row, text in enumerate(table["text"].to_pylist()):
                groups[text].add(custom_id.custom_id(digest, shard_no, row))
        return {name: frozenset(names) for names in groups.values() if len(names) > 1 for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishaps:
    """What goes wrong beside the provider, as chances: per move of a worker, per delivery, or per look around."""

    crash: float = 0.0
    pause: float = 0.0
    power: float = 0.0  # all workers die, and what the disk had not synced may be gone
    jump: float = 0.0  # the machine's clock is set
    jump_in_wait: float = 0.0  # it is set while everybody waits for something to be due
    twice: float = 0.0  # two workers get the same unit
    dropped: float = 0.0  # nobody gets it
    broken_leases: float = 0.0
    foreign_batch: float = 0.0  # somebody else with the same credential
    foreign_delete: float = 0.0
    foreign_cancel: float = 0.0
    other_key: float = 0.0  # for a while the key is another account's, or a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One seed, spelled out."""

    seed: int
    provider: str  # a name in CLASSES
    jobs: tuple[JobPlan, ...]
    provider_requests_max: int
    rates: Rates
    reported: Reported = NOT_REPORTED
    mishaps: Mishaps
    pause_s_max: float  # of one step, all in all
    slow_factor: float = 8.0  # how much longer a slow batch takes
    faults_until_s: float
    workers: int
    slice_rows: int
    turns_max: int = 40_000  # more: it is stuck; what is held for a key is looked at each minute for hours


def scenario(seed: int, provider: str) -> Scenario:
    """Return what `seed` stands for: mostly something small, so that many can be tried."""
    chance = random.Random(f"{provider}/{seed}")
    requests_max = chance.randint(3, 6)
    is_large = chance.random() < 0.1
    job_count = chance.choice((1, 1, 1, 2)) if not is_large else chance.choice((1, 2, 3))
    drawn = [_job(chance, provider, number, requests_max, is_large=is_large) for number in range(job_count)]
    jobs = _with_pauses(_with_canaries(drawn, f"{provider}/{seed}"), f"{provider}/{seed}")
    jobs = _with_choices(_typed(jobs, f"{provider}/{seed}"), f"{provider}/{seed}")
    settled = CLASSES[provider].traits.recovery is Recovery.SETTLED
    return Scenario(
        seed=seed,
        provider=provider,
        jobs=jobs,
        provider_requests_max=requests_max - (2 if chance.random() < 0.2 else 0),
        rates=_tempered(chance),
        reported=of_answers(jobs, _reported(f"{provider}/{seed}")),
        mishaps=replace(_mishaps(chance), other_key=_other_key(f"{provider}/{seed}")),
        pause_s_max=PAUSE_S_MAX_SETTLED if settled else PAUSE_S_MAX,
        faults_until_s=chance.choice((1_000.0, 5_000.0, 20_000.0)),
        workers=chance.randint(2, 4),
        slice_rows=chance.choice((8, 8, 50)),
    )


def _mishaps(chance: random.Random) -> Mishaps:
    foreign = chance.random() < 0.3
    return Mishaps(
        crash=chance.choice((0.0, 0.005, 0.02)),
        pause=chance.choice((0.0, 0.005, 0.02)),
        power=chance.choice((0.0, 0.0, 0.003)),
        jump=chance.choice((0.0, 0.0, 0.005)),
        twice=chance.choice((0.0, 0.05, 0.3, 1.0)),
        dropped=0.02,
        broken_leases=0.02 if chance.random() < 0.4 else 0.0,
        foreign_batch=0.05 if foreign else 0.0,
        foreign_delete=0.02 if foreign else 0.0,
        foreign_cancel=0.02 if foreign else 0.0,
    )


def _other_key(name: str) -> float:
    """Return how often the key is swapped: in every fifth seed, drawn by itself, so that the others stay the same."""
    # The number is such that no seed at which a broken protocol is known to be caught is among them.
    return 0.4 if random.Random(f"key 318/{name}").random() < 0.2 else 0.0


def _reported(name: str) -> Reported:
    """Return what reports tell of, in some seeds: drawn by itself, and its number chosen, as for the other key."""
    chance = random.Random(f"reported 10257/{name}")
    if chance.random() >= 0.35:
        return NOT_REPORTED
    rates = {"same_id": 0.1, "unpaid": 0.04, "truncated": 0.15, "unknown_shape": 0.15, "others_id": 0.1}
    return Reported(**{kind: rate if chance.random() < 0.6 else 0.0 for kind, rate in rates.items()})


def of_answers(jobs: Iterable[JobPlan], reported: Reported) -> Reported:
    """Return the rates, where jobs are typed or people choose rows, with those of answers that are no use."""
    if any(job.typed for job in jobs):
        return replace(reported, truncated=0.15, refused=0.08, invalid_json=0.12, schema_mismatch=0.15)
    if any(job.chooses for job in jobs):
        return replace(reported, truncated=0.15, refused=0.1)
    return reported


def _job(chance: random.Random, provider: str, number: int, requests_max: int, *, is_large: bool) -> JobPlan:
    policy = Policy(
        attempts_max=chance.choice((2, 2, 3)),
        null_policy=NullPolicy.SKIP,
        chunk_requests_max=requests_max,
        chunk_bytes_max=BYTES_MAX,
        batches_in_flight_max=chance.choice((2, 5, 20)),
        chunks_ahead_max=chance.choice((2, 5, 40)),
        poll_s_min=240.0,
        poll_s_max=1_200.0,
        retry_gather_s=chance.choice((60.0, 600.0)),
    )
    price = PRICE if chance.random() < 0.6 else None
    if price is not None and chance.random() < 0.3:
        policy = replace(policy, budget_usd=Decimal(chance.randint(1_000, 9_000)) / 1_000_000)
    shard_count = chance.choice((1, 2, 2, 3)) if is_large else chance.choice((1, 1, 1, 2))
    return JobPlan(
        number=number,
        tables=tuple(_table(chance, number, shard_no, 15 if is_large else 7) for shard_no in range(shard_count)),
        knows_counts=chance.random() < 0.7,
        policy=replace(policy, **_when_in_doubt(chance, provider)),
        price=price,
        cancel_at_s=chance.uniform(1, 3_000) if chance.random() < 0.2 else None,
        retries=chance.choice((0, 0, 0, 0, 0, 1, 1, 2)),
    )


def _with_canaries(jobs: Iterable[JobPlan], name: str) -> tuple[JobPlan, ...]:
    """Return the jobs, in some seeds with a canary: drawn by itself, and its number chosen, as for the other key."""
    chance = random.Random(f"canary 6910/{name}")
    if chance.random() >= 0.3:
        return tuple(jobs)
    rows = chance.randint(1, 4)
    return tuple(replace(job, has_canary=True, policy=replace(job.policy, canary_rows=rows)) for job in jobs)


def _typed(jobs: Iterable[JobPlan], name: str) -> tuple[JobPlan, ...]:
    """Return the jobs, in some seeds with typed answers: drawn by itself, its number chosen as for the other key."""
    chance = random.Random(f"typed 1005/{name}")
    is_drawn = chance.random() < 0.25
    return tuple(replace(job, typed=is_drawn and chance.random() < 0.8) for job in jobs)


def _with_choices(jobs: Iterable[JobPlan], name: str) -> tuple[JobPlan, ...]:
    """Return the jobs, in some seeds with rows that people choose: drawn by itself, its number chosen likewise."""
    chance = random.Random(f"choices 1080/{name}")
    if chance.random() >= 0.25:
        return tuple(jobs)
    return tuple(replace(job, chooses=True, retries=chance.choice((1, 2, 2, 3))) for job in jobs)


def _with_pauses(jobs: Iterable[JobPlan], name: str) -> tuple[JobPlan, ...]:
    """Return the jobs, in some seeds with pauses: drawn by itself, and its number chosen, as for the other key."""
    chance = random.Random(f"pauses 783/{name}")
    if chance.random() >= 0.25:
        return tuple(jobs)
    return tuple(replace(job, pauses=pauses(chance, chance.randint(1, 3), 4_000)) for job in jobs)


def pauses(chance: random.Random, count: int, until_s: float) -> tuple[tuple[float, float], ...]:
    """Return so many pauses, one after the other."""
    ends = sorted(chance.uniform(1, until_s) for _ in range(2 * count))
    return tuple(zip(ends[::2], ends[1::2], strict=True))


def _when_in_doubt(chance: random.Random, provider: str) -> dict[str, Any]:
    """Return what the user wants done about a lost create; where nothing can be asked, often a wager."""
    roll = chance.random()
    if roll < 0.1:
        return {"on_ambiguous": OnAmbiguous.HOLD}
    if roll < (0.5 if provider == "c" else 0.15):
        most = Decimal(chance.choice((200, 600, 2_000))) / 1_000_000
        return {"on_ambiguous": OnAmbiguous.RESUBMIT, "max_duplicate_usd": most}
    return {}


def _tempered(chance: random.Random) -> Rates:
    """Return rough rates, some of them left out, so that no fault hides another for ever."""
    calmed = {name: 0.0 for name in Rates.__dataclass_fields__ if chance.random() < 0.25}
    return replace(ROUGH, **calmed)


def _table(chance: random.Random, number: int, shard_no: int, rows_max: int) -> Any:
    texts: list[str | None] = []
    for row in range(chance.randint(0 if shard_no else 2, rows_max)):
        roll = chance.random()
        if roll < 0.04:
            texts.append(None)
        elif roll < 0.07:
            texts.append(f"{number}/{shard_no}/{row} " + "long " * 700)
        else:
            texts.append(f"{number}/{shard_no}/{row} {'é' * chance.randint(0, 60)}")
    numbers = [shard_no * 1_000 + row for row in range(len(texts))]
    return pa.table({"number": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.string())})


def prompt(text: str) -> str:
    """Return the prompt that a row's text makes."""
    return f"Say {text}"
