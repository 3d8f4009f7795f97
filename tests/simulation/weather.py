"""Worlds that have more of one thing than a seed draws, for broken protocols that only show under it.

Rule: a weather is fair: the protocol of production holds under it (`test_mutants_b.py` runs it there), so whatever
breaks under it is the mutant's own doing.
"""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Final

import pyarrow as pa

from orchestrator.domain.policy import OnAmbiguous
from tests.fakes.faults import Reported
from tests.simulation.plan import PRICE, JobPlan, Scenario, of_answers, pauses

REPEATED: Final = 0.4  # of the rows
LOST: Final = 0.35  # of the answers to creates
WAGER_USD: Final = Decimal("0.0003")
TYPED_BUDGET_USD: Final = Decimal("0.0003")
BUDGET_USD: Final = Decimal("0.0003")  # a batch of two rows, and not two


def clocks_are_set(plan: Scenario) -> Scenario:
    """The machine's clock is set often, and answers to creates are lost often."""
    return replace(
        _with_answers_lost(plan),
        mishaps=replace(plan.mishaps, jump=0.03),
        jobs=tuple(_patient(job) for job in plan.jobs),
    )


def clocks_are_set_in_waits(plan: Scenario) -> Scenario:
    """The clock is set while a list is waited for that must show what there is."""
    lost = answers_are_lost(plan)
    rates = replace(lost.rates, lost_after=0.9, late=0.0, lost_before=0.0, doubled=0.0)
    return replace(lost, rates=rates, mishaps=replace(plan.mishaps, jump=0.0, jump_in_wait=0.3))


def answers_are_lost(plan: Scenario) -> Scenario:
    """The answers to creates are lost often, before, after or long before their effect."""
    return replace(_with_answers_lost(plan), jobs=tuple(_patient(job) for job in plan.jobs))


def batches_are_slow(plan: Scenario) -> Scenario:
    """Batches take their time, and the answers to creates are lost often."""
    lost = answers_are_lost(plan)
    return replace(lost, rates=replace(lost.rates, slow=0.8, late=0.0), slow_factor=20.0, faults_until_s=5_000.0)


def pauses_are_many(plan: Scenario) -> Scenario:
    """People pause jobs again and again, most of them at their begin, where the creates are."""
    chance = random.Random(f"many pauses/{plan.provider}/{plan.seed}")
    jobs = (replace(job, pauses=pauses(chance, 12, 300), cancel_at_s=None) for job in plan.jobs)
    return replace(plan, jobs=tuple(jobs))


def budgets_are_tight(plan: Scenario) -> Scenario:
    """There is money for one batch, and many may be under way."""
    jobs = []
    for job in plan.jobs:
        policy = replace(
            job.policy, budget_usd=BUDGET_USD, chunks_ahead_max=40, batches_in_flight_max=20, chunk_requests_max=2
        )
        jobs.append(replace(job, price=PRICE, policy=policy, cancel_at_s=None))
    return replace(plan, jobs=tuple(jobs))


def lines_come_twice(plan: Scenario) -> Scenario:
    """Many rows are answered twice, and not alike."""
    return replace(plan, rates=replace(plan.rates, duplicated=0.3, differing=0.4))


def reports_come_true(plan: Scenario) -> Scenario:
    """Credit runs out, answers are cut off or come in an unknown form, and creates are answered with other batches."""
    jobs = tuple(replace(job, cancel_at_s=None, retries=1) for job in plan.jobs)
    return replace(plan, jobs=jobs, reported=Reported(same_id=0.1, unpaid=0.1, truncated=0.2, unknown_shape=0.3))


def ids_are_given_again(plan: Scenario) -> Scenario:
    """Two jobs or more, whose creates are often answered with a batch of another, be it at work or long ended."""
    jobs = plan.jobs if len(plan.jobs) > 1 else (*plan.jobs, replace(plan.jobs[0], number=1))
    return replace(plan, jobs=jobs, reported=Reported(same_id=0.1, others_id=0.3))


def wagers_are_many(plan: Scenario) -> Scenario:
    """Answers are lost often, and the user has some creates sent again, for very little money."""
    resubmits = {"on_ambiguous": OnAmbiguous.RESUBMIT, "max_duplicate_usd": WAGER_USD}
    jobs = (replace(job, price=PRICE, policy=replace(job.policy, **resubmits)) for job in plan.jobs)
    return replace(_with_answers_lost(plan), jobs=tuple(jobs))


def lines_are_foreign(plan: Scenario) -> Scenario:
    """Many lines of result files name no row of ours, and many of ours are missing."""
    return replace(plan, rates=replace(plan.rates, foreign=0.4, missing=0.2))


def answers_are_no_use(plan: Scenario) -> Scenario:
    """All answers have a schema, many are not of it, and some jobs have little money."""
    chance = random.Random(f"typed/{plan.provider}/{plan.seed}")
    jobs = tuple(
        replace(
            job,
            typed=True,
            price=PRICE,
            policy=replace(job.policy, budget_usd=TYPED_BUDGET_USD if chance.random() < 0.5 else None),
            cancel_at_s=None,
        )
        for job in plan.jobs
    )
    return replace(plan, jobs=jobs, reported=of_answers(jobs, plan.reported))


def rows_are_chosen(plan: Scenario) -> Scenario:
    """People choose rows again and again, of typed jobs and of others."""
    chance = random.Random(f"chosen/{plan.provider}/{plan.seed}")
    jobs = tuple(
        replace(job, typed=chance.random() < 0.5, chooses=True, retries=chance.randint(1, 3)) for job in plan.jobs
    )
    return replace(plan, jobs=jobs, reported=of_answers(jobs, plan.reported))


def rows_repeat(plan: Scenario) -> Scenario:
    """Many rows make the same request as an earlier one, of any shard; it is sent once."""
    jobs = (replace(job, tables=_repeating(job.tables), policy=replace(job.policy, dedupe=True)) for job in plan.jobs)
    return replace(plan, jobs=tuple(jobs))


def _repeating(tables: tuple[pa.Table, ...]) -> tuple[pa.Table, ...]:
    chance, earlier, made = random.Random(f"repeat {tables[0]['text'].to_pylist()}"), list[str](), list[pa.Table]()
    for table in tables:
        texts = table["text"].to_pylist()
        for row in range(len(texts)):
            if earlier and chance.random() < REPEATED:
                texts[row] = earlier[chance.randrange(len(earlier))]
            earlier.append(texts[row])
        made.append(table.set_column(1, "text", pa.array(texts, pa.string())))
    return tuple(made)


def power_is_lost(plan: Scenario) -> Scenario:
    """Two workers do all, and the power fails often."""
    return replace(plan, mishaps=replace(plan.mishaps, power=0.02, twice=1.0, pause=0.02), faults_until_s=20_000.0)


def _with_answers_lost(plan: Scenario) -> Scenario:
    rates = replace(plan.rates, lost_before=0.05, lost_after=LOST, late=LOST, doubled=0.4)
    return replace(plan, rates=rates, faults_until_s=20_000.0)


def _patient(job: JobPlan) -> JobPlan:
    """Nobody cancels, and what is in doubt is asked about."""
    return replace(job, cancel_at_s=None, policy=replace(job.policy, on_ambiguous=OnAmbiguous.RECONCILE))
