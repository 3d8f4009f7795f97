"""Broken protocols: each must be caught. A simulator that finds nothing in them would prove nothing.

One of them, `NO_LEASES`, must not be caught: a lease saves effort and keeps no promise.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from orchestrator.batches import poll, recover
from orchestrator.collector import collect
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.domain import reconcile, recovery
from orchestrator.domain.model import Step
from orchestrator.domain.reconcile import Reconciliation
from orchestrator.job_files import chunk_rows, create_journal
from orchestrator.job_files.changed_requests import Changing
from orchestrator.ledger import creates, pausing
from orchestrator.planner import plan
from orchestrator.planner.amended import Amending
from tests.fakes.disk import InPlaceDisk
from tests.simulation import flawed_adapters, flawed_ledgers, flawed_steps, weather
from tests.simulation.variant import Variant, altered


class Mutant(NamedTuple):
    """A broken protocol, the class of provider at which it must be caught, and the first seed that caught it.

    Where the seed is None, it takes a hundred seeds or more: `python -m tests.simulation mutants` has the time for it.
    """

    provider: str
    variant: Variant
    seed: int | None


SUBMIT_FIRST: Final = {Step.SUBMIT: (flawed_steps.create_before_intent, ("ledger", "job_files", "provider", "clock"))}
NO_LEASES: Final = Variant(name="no leases", ledger=flawed_ledgers.NoLeaseLedger)
MUTANTS: Final = tuple(
    Mutant(provider, Variant(name=name, **parts), seed)
    for provider, seed, name, parts in (
        # who may write
        ("c", 0, "no compare-and-set", {"ledger": flawed_ledgers.NoSwapLedger}),
        ("b1", 0, "no compare-and-set, fenced", {"ledger": flawed_ledgers.NoSwapLedger}),
        # the create
        ("c", 2, "the create goes before the intent", {"steps": SUBMIT_FIRST}),
        ("c", 1, "the POST is retried", {"provider": flawed_adapters.RetryingAdapter}),
        ("b1", 3, "the POST is retried, fenced", {"provider": flawed_adapters.RetryingAdapter}),
        ("c", 0, "doubt is taken for refusal", {"provider": flawed_adapters.HopefulAdapter}),
        ("b1", 5, "doubt is taken for refusal, fenced", {"provider": flawed_adapters.HopefulAdapter}),
        ("c", 0, "no journal", {"altered": altered((create_journal, "write_journal", flawed_steps.nothing))}),
        ("a1", 0, "a repeated create has a new key", {"provider": flawed_adapters.NewKeyAdapter}),
        ("b1-settle", 3, "the mark is not sent", {"provider": flawed_adapters.MarklessAdapter}),
        # recovery
        ("b1", 5, "no fence", {"weather": weather.answers_are_lost, "provider": flawed_adapters.FencelessAdapter}),
        ("b1", 5, "no lag", {"weather": weather.answers_are_lost, "provider": flawed_adapters.LaglessAdapter}),
        ("b1-settle", 11, "no creates that are late", {"provider": flawed_adapters.ImpatientAdapter}),
        (
            "b2",
            1,
            "no creates that are late, unmarked",
            {"weather": weather.answers_are_lost, "provider": flawed_adapters.ImpatientAdapter},
        ),
        ("b1", 9, "the wrong mark", {"provider": flawed_adapters.BlindAdapter}),
        (
            "b1",
            8,
            "the first page only",
            {"weather": weather.answers_are_lost, "provider": flawed_adapters.FirstPageAdapter},
        ),
        (
            "b2",
            6,
            "what has not ended is passed over",
            {"weather": weather.batches_are_slow, "provider": flawed_adapters.EndedOnlyAdapter},
        ),
        ("b2", 14, "any batch of that time will do", {"provider": flawed_adapters.GuessingAdapter}),
        ("b1", 3, "absent at once", {"altered": altered((recovery, "decide", flawed_steps.absent_at_once))}),
        (
            "b1",
            25,
            "one look by a wall clock",
            {
                "weather": weather.clocks_are_set_in_waits,
                "altered": altered((recovery, "_prove", flawed_steps.one_look)),
            },
        ),
        (
            "b1",
            29,
            "no looking back",
            {"weather": weather.clocks_are_set, "altered": altered((recover, "CLOCK_ERROR_S_MAX", 0.0))},
        ),
        (
            "b1",
            2,
            "twins run on",
            {"weather": weather.answers_are_lost, "altered": altered((recover, "_adopt", flawed_steps.adopt_alone))},
        ),
        ("c", 0, "nobody waits for a person", {"altered": altered((recovery, "decide", flawed_steps.held_no_longer))}),
        (
            "c",
            6,
            "a batch not found is sent again",
            {"altered": altered((poll, "_failed", flawed_steps.gone_is_rejected))},
        ),
        (
            "b1",
            15,
            "another account is believed",
            {"altered": altered((recovery, "is_other", flawed_steps.believed))},
        ),
        # money
        (
            "c",
            1,
            "reservations do not count",
            {
                "weather": weather.budgets_are_tight,
                "altered": altered((creates, "_spent_usd", flawed_steps.settled_only_usd)),
            },
        ),
        (
            "c",
            1,
            "a budget does not wait",
            {
                "weather": weather.budgets_are_tight,
                "altered": altered((creates, "spending", flawed_steps.nothing_is_freed)),
            },
        ),
        (
            "c",
            1,
            "a wager without bound",
            {
                "weather": weather.wagers_are_many,
                "altered": altered(
                    (recovery, "_resubmit", flawed_steps.wager_all),
                    (creates, "_refuse_beyond_duplicate_budget", flawed_steps.nothing),
                ),
            },
        ),
        # results
        ("c", 23, "no count of lines", {"altered": altered((collect, "SHORT_TRIES_MAX", 0))}),
        ("c", 7, "no patience for results", {"altered": altered((collect, "_look_again", flawed_steps.given_up))}),
        ("b1", 0, "the file of errors is not read", {"provider": flawed_adapters.AnswersOnlyAdapter}),
        ("c", 3, "partial results are dropped", {"provider": flawed_adapters.CompletedOnlyAdapter}),
        (
            "c",
            3,
            "the last line wins",
            {
                "weather": weather.lines_come_twice,
                "altered": altered((Reconciliation, "place", flawed_steps.last_wins)),
            },
        ),
        ("c", 2, "answers go by position", {"altered": altered((Reconciliation, "place", flawed_steps.by_position))}),
        (
            "c",
            1,
            "foreign lines are taken in",
            {
                "weather": weather.lines_are_foreign,
                "altered": altered((Reconciliation, "place", flawed_steps.foreign_taken_in)),
            },
        ),
        (
            "c",
            28,
            "rows fail for want of credit",
            {
                "weather": weather.reports_come_true,
                "altered": altered((Reconciliation, "_refusal", flawed_steps.no_refusal)),
            },
        ),
        (
            "c",
            1,
            "what cannot be read is bought again",
            {
                "weather": weather.reports_come_true,
                "altered": altered((Reconciliation, "place", flawed_steps.unread_again)),
            },
        ),
        (
            "c",
            2,
            "batches are compared within one job",
            {
                "weather": weather.ids_are_given_again,
                "altered": altered((creates, "_provider", flawed_steps.one_for_each_job)),
            },
        ),
        (
            "c",
            9,
            "an answer does not stand where its row fails",
            {
                "weather": weather.reports_come_true,
                "altered": altered((reconcile, "_with_standing", flawed_steps.nothing_stands)),
            },
        ),
        # answers that are no use, and rows that people choose
        (
            "c",
            29,
            "what is no use is asked for again and again",
            {
                "weather": weather.answers_are_no_use,
                "altered": altered((TypedAnswers, "checking", flawed_steps.checked_for_ever)),
            },
        ),
        (
            "c",
            0,
            "what is no use is asked for as before",
            {
                "weather": weather.answers_are_no_use,
                "altered": altered((Amending, "line", flawed_steps.line_as_it_was)),
            },
        ),
        (
            "c",
            10,
            "other rows are sent than were chosen",
            {
                "weather": weather.rows_are_chosen,
                "altered": altered((chunk_rows, "chosen_rows", flawed_steps.whole_chunk)),
            },
        ),
        (
            "c",
            10,
            "what people set is forgotten",
            {
                "weather": weather.rows_are_chosen,
                "altered": altered((Changing, "request", flawed_steps.request_as_it_was)),
            },
        ),
        ("c", 0, "rows are settled twice", {"ledger": flawed_ledgers.DoubleEntryLedger}),
        # the canary
        (
            "c",
            7,
            "every chunk bears the canary's mark",
            {"altered": altered((plan, "_close", flawed_steps.close_as_canary))},
        ),
        # a pause
        (
            "b1",
            7,
            "a step under way does not see a pause",
            {
                "weather": weather.pauses_are_many,
                "altered": altered((pausing, "pause", flawed_steps.pause_unseen)),
            },
        ),
        # files
        ("c", 0, "the ledger before the file", {"disk": flawed_ledgers.LazyDisk}),
        ("c", 0, "the archive is tidied up", {"disk": flawed_ledgers.TidyDisk}),
        ("c", 1, "files are written in place", {"disk": InPlaceDisk}),
        ("c", 9, "nothing is synced", {"disk": flawed_ledgers.TornDisk}),
        ("c", 9, "folders are not synced", {"disk": flawed_ledgers.FolderlessDisk}),
        (
            "c",
            None,
            "what others put in place is trusted",
            {"weather": weather.power_is_lost, "disk": flawed_ledgers.TrustingDisk},
        ),
        ("c", 2, "the ledger forgets commits", {"weather": weather.power_is_lost, "forgets_commits": True}),
        # handing out
        ("c", 1, "what is handed out counts as done", {"ledger": flawed_ledgers.EternalLeaseLedger}),
        ("c", 7, "acknowledged before it is done", {"ledger": flawed_ledgers.AcknowledgingLedger}),
    )
)
KILLED: Final = tuple(mutant for mutant in MUTANTS if mutant.seed is not None)
