"""What a seed stands for: a dataset, a policy, the provider's temper, and what people do meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from orchestrator.domain.policy import NullPolicy, Policy, Price
from tests.fakes.faults import ROUGH, Rates

BYTES_MAX: Final = 3_000
PRICE: Final = Price(input_usd=Decimal(1), output_usd=Decimal(2))
OUTPUT_TOKENS_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One seed, spelled out."""

    seed: int
    provider: str  # "b1" or "c"
    tables: tuple[Any, ...]
    knows_counts: bool
    policy: Policy
    price: Price | None
    provider_requests_max: int
    rates: Rates
    faults_until_s: float
    crash: float
    pause: float
    twice: float
    dropped: float
    workers: int
    slice_rows: int
    cancel_at_s: float | None
    retries: int  # how often a person retries the job once it has ended
    break_leases: bool


def scenario(seed: int, provider: str) -> Scenario:
    """Return what `seed` stands for."""
    chance = random.Random(f"{provider}/{seed}")
    requests_max = chance.randint(3, 6)
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
        policy = replace(policy, budget_usd=Decimal(chance.randint(2_000, 9_000)) / 1_000_000)
    return Scenario(
        seed=seed,
        provider=provider,
        tables=tuple(_table(chance, shard_no) for shard_no in range(chance.choice((1, 1, 2, 2, 2, 3)))),
        knows_counts=chance.random() < 0.7,
        policy=policy,
        price=price,
        provider_requests_max=requests_max - (2 if chance.random() < 0.2 else 0),
        rates=_tempered(chance),
        faults_until_s=chance.choice((1_000.0, 5_000.0, 20_000.0)),
        crash=chance.choice((0.0, 0.005, 0.02)),
        pause=chance.choice((0.0, 0.005, 0.02)),
        twice=chance.choice((0.0, 0.05, 0.3)),
        dropped=0.02,
        workers=chance.randint(2, 4),
        slice_rows=chance.choice((8, 8, 50)),
        cancel_at_s=chance.uniform(1, 3_000) if chance.random() < 0.25 else None,
        retries=chance.choice((0, 0, 0, 0, 1, 1, 2)),
        break_leases=chance.random() < 0.4,
    )


def _tempered(chance: random.Random) -> Rates:
    """Return rough rates, some of them left out, so that no fault hides another for ever."""
    calmed = {name: 0.0 for name in Rates.__dataclass_fields__ if chance.random() < 0.25}
    return replace(ROUGH, **calmed)


def _table(chance: random.Random, shard_no: int) -> Any:
    texts: list[str | None] = []
    for row in range(chance.randint(0 if shard_no else 4, 15)):
        roll = chance.random()
        if roll < 0.04:
            texts.append(None)
        elif roll < 0.07:
            texts.append(f"{shard_no}/{row} " + "long " * 700)
        else:
            texts.append(f"{shard_no}/{row} {'é' * chance.randint(0, 60)}")
    numbers = [shard_no * 1_000 + row for row in range(len(texts))]
    return pa.table({"number": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.string())})


def prompt(text: str) -> str:
    """Return the prompt that a row's text makes."""
    return f"Say {text}"
