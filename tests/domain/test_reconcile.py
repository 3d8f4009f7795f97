"""Result lines against the rows they must answer: no order of the same lines gives another outcome."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.custom_id import custom_id
from orchestrator.domain.faults import Fault
from orchestrator.domain.model import Outcome, Tally
from orchestrator.domain.reconcile import Answer, Placed, Reconciliation, RowKey, unanswered, unreadable

DIGEST: Final = "9f86d081"
ABSENT: Final = unanswered(Outcome.COMPLETED)
Line = tuple[str, Answer] | None  # None: a line that could not be read


def row(number: int, shard_no: int = 0) -> str:
    return custom_id(DIGEST, shard_no, number)


def yes(digest: int) -> Answer:
    return Answer(succeeded=True, text=f"yes {digest}", digest=digest)


def no(digest: int, *, retryable: bool = True) -> Answer:
    return Answer(succeeded=False, error_code="500", retryable=retryable, digest=digest)


def reconcile(
    lines: Iterable[Line], expected: Iterable[RowKey], *, may_send_again: bool = True
) -> tuple[Tally, list[tuple[RowKey, Answer]]]:
    reconciliation = Reconciliation(expected, DIGEST)
    for line in lines:
        if line is None:
            reconciliation.unreadable()
        else:
            reconciliation.place(*line)
    tally, answers = reconciliation.close(ABSENT, may_send_again=may_send_again)
    return tally, list(answers)


def test_every_order_of_the_same_lines_gives_the_same_answers_and_the_same_counts() -> None:
    """720 orders of six lines for four rows: a row answered twice in three ways, a foreign and an unreadable line.

    The last may answer any row that has no line.
    """
    lines: list[Line] = [
        (row(0), yes(2)),
        (row(0), no(1)),
        (row(0), yes(3)),
        (row(1), no(7, retryable=False)),
        (custom_id("deadbeef", 0, 0), yes(1)),
        None,
    ]
    expected = [(0, 0), (0, 1), (0, 2), (1, 0)]

    for order in permutations(lines):
        tally, answers = reconcile(order, expected)

        kept = unreadable()
        assert answers == [((0, 0), yes(2)), ((0, 1), no(7, retryable=False)), ((0, 2), kept), ((1, 0), kept)]
        assert tally == Tally(
            succeeded=1, failed=3, missing=2, lines=6, duplicates=2, foreign=1, unreadable=1, unreadable_rows=2
        )


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (yes(2), yes(1), yes(1)),
        (yes(1), yes(2), yes(1)),
        (no(1), yes(2), yes(2)),
        (yes(2), no(1), yes(2)),
        (no(2), no(1), no(1)),
        (no(1), no(2), no(1)),
        (yes(1), yes(1), yes(1)),
        (no(1), unreadable(digest=2), unreadable(digest=2)),
        (unreadable(digest=1), yes(2), yes(2)),
    ],
)
def test_a_success_beats_what_cannot_be_read_that_beats_a_failure_and_of_two_of_a_kind_the_smaller_digest_is_kept(
    first: Answer, second: Answer, kept: Answer
) -> None:
    tally, answers = reconcile([(row(0), first), (row(0), second)], [(0, 0)])

    assert answers == [((0, 0), kept)]
    assert (tally.lines, tally.duplicates) == (2, 1)


@pytest.mark.parametrize(
    "name",
    [custom_id("deadbeef", 0, 0), row(10), row(0, shard_no=1), "9f86d081-0-00", "request-1", ""],
)
def test_a_line_for_no_row_of_this_chunk_is_foreign_and_answers_nothing(name: str) -> None:
    reconciliation = Reconciliation([(0, 0)], DIGEST)

    assert reconciliation.place(name, yes(1)) is Placed.FOREIGN
    tally, answers = reconciliation.close(ABSENT, may_send_again=True)
    assert list(answers) == [((0, 0), ABSENT)]
    assert (tally.foreign, tally.missing, tally.succeeded) == (1, 1, 0)


def test_it_says_what_became_of_each_line() -> None:
    reconciliation = Reconciliation([(0, 0)], DIGEST)

    assert reconciliation.place(row(0), no(1)) is Placed.KEPT
    assert reconciliation.place(row(0), yes(2)) is Placed.DUPLICATE
    assert reconciliation.place(row(1), yes(2)) is Placed.FOREIGN


KEYS: Final = st.tuples(st.integers(0, 2), st.integers(0, 5))
ANSWERS: Final = st.builds(
    Answer,
    succeeded=st.booleans(),
    retryable=st.booleans(),
    digest=st.integers(0, 3),
)
LINES: Final = st.lists(
    st.none() | st.tuples(KEYS.map(lambda key: row(key[1], key[0])) | st.just("foreign"), ANSWERS), max_size=30
)


@settings(deadline=None)
@given(LINES, st.sets(KEYS, max_size=12), st.booleans())
def test_the_counts_add_up_and_every_row_is_there_once_in_order(
    lines: list[Line], expected: set[RowKey], may_send_again: bool
) -> None:
    """rows = succeeded + dead + waiting; lines = rows answered + duplicates + foreign + unreadable."""
    tally, answers = reconcile(lines, expected, may_send_again=may_send_again)

    assert [key for key, _ in answers] == sorted(expected)
    assert tally.succeeded + tally.failed + tally.waiting == len(expected)
    answered = len(expected) - tally.missing
    assert tally.lines == len(lines) == answered + tally.duplicates + tally.foreign + tally.unreadable
    assert tally.succeeded == sum(answer.succeeded for _, answer in answers)
    assert tally.waiting == sum(answer.retryable and not answer.succeeded for _, answer in answers)
    failures = [answer for _, answer in answers if not answer.succeeded]
    assert tally.unreadable_rows == sum(answer.fault is Fault.UNREADABLE for answer in failures)


@settings(deadline=None)
@given(LINES, st.sets(KEYS, max_size=12))
def test_once_rows_may_not_be_sent_again_nothing_waits(lines: list[Line], expected: set[RowKey]) -> None:
    ours = [line and (line[0], line[1]._replace(fault=Fault.TRANSIENT)) for line in lines]
    tally, answers = reconcile(ours, expected, may_send_again=False)

    assert tally.waiting == 0
    assert not any(answer.retryable for _, answer in answers if not answer.succeeded)


def refused(fault: Fault, digest: int = 1) -> Answer:
    return Answer(succeeded=False, error_code="x", fault=fault, digest=digest)


@pytest.mark.parametrize("may_send_again", [True, False])
def test_rows_that_failed_for_the_accounts_sake_wait_however_often_they_were_sent(*, may_send_again: bool) -> None:
    lines = [(row(0), yes(1)), (row(1), refused(Fault.ACCOUNT)), (row(2), refused(Fault.ROW))]
    tally, answers = reconcile(lines, [(0, 0), (0, 1), (0, 2)], may_send_again=may_send_again)

    assert (tally.succeeded, tally.waiting, tally.failed) == (1, 1, 1)
    assert [answer.retryable for _, answer in answers] == [False, True, False]


def test_rows_that_failed_for_the_jobs_sake_wait_only_if_all_did() -> None:
    """A model that is refused for one row of many is that row's."""
    alike = [(row(0), refused(Fault.JOB)), (row(1), refused(Fault.JOB))]
    tally, _ = reconcile(alike, [(0, 0), (0, 1)], may_send_again=False)
    assert (tally.waiting, tally.failed) == (2, 0)

    tally, _ = reconcile([(row(0), yes(1)), alike[1]], [(0, 0), (0, 1)], may_send_again=True)
    assert (tally.waiting, tally.failed) == (0, 1)


def test_a_failure_at_the_last_send_is_final_and_keeps_its_message() -> None:
    failed = no(1)._replace(error_message="it broke")

    tally, answers = reconcile([(row(0), failed)], [(0, 0), (0, 1)], may_send_again=False)

    assert (tally.failed, tally.waiting, tally.missing) == (2, 0, 1)
    assert answers == [((0, 0), failed._replace(retryable=False)), ((0, 1), ABSENT._replace(retryable=False))]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.COMPLETED, "missing"),
        (Outcome.FAILED, "batch_failed"),
        (Outcome.EXPIRED, "expired"),
        (Outcome.CANCELLED, "cancelled"),
    ],
)
def test_a_row_without_a_line_has_failed_for_the_batchs_reason_and_may_be_sent_again(
    outcome: Outcome, code: str
) -> None:
    answer = unanswered(outcome, "in the provider's words")

    assert (answer.succeeded, answer.retryable, answer.error_code) == (False, True, code)
    assert answer.error_message is not None
    assert answer.error_message.endswith(": in the provider's words")


def test_answers_that_are_not_whole_are_counted_by_name_and_have_succeeded() -> None:
    """Each once: an empty answer that was cut is truncated, a refused one without words is refused."""
    given = {
        0: Answer(succeeded=True, text="yes", finish_reason="stop"),
        1: Answer(succeeded=True, text="", finish_reason="length"),
        2: Answer(succeeded=True, text="so f", finish_reason="MAX_TOKENS"),
        3: Answer(succeeded=True, text=" ", finish_reason="stop"),
        4: Answer(succeeded=True, text="", finish_reason="refusal"),
        5: Answer(succeeded=True, text=None, tool_calls="[]", finish_reason="tool_calls"),
        6: Answer(succeeded=True, embedding=b"1234"),
        7: Answer(succeeded=False, error_code="truncated"),
    }
    tally, answers = reconcile(
        [(row(number), answer) for number, answer in given.items()], [(0, number) for number in given]
    )

    assert (tally.succeeded, tally.failed) == (7, 1)
    assert (tally.truncated_answers, tally.empty_answers, tally.refused_answers) == (2, 1, 1)
    codes = [None, "truncated", "truncated", "empty", "refused", None, None, "truncated"]
    assert [answer.error_code for _, answer in answers] == codes


BROKEN: Final = b'{"custom_id": "%s", "response": {"bod'


@pytest.mark.parametrize(
    ("line", "suspected"),
    [
        (BROKEN % row(1).encode(), {1}),
        (BROKEN % row(1).upper().encode(), {1}),
        (BROKEN % row(7).encode(), {0, 1, 2}),
        (BROKEN % row(1).encode() + BROKEN % row(2).encode(), {0, 1, 2}),
        (BROKEN % (row(1) + "0").encode(), {0, 1, 2}),
        (b"no JSON", {0, 1, 2}),
    ],
    ids=["one id", "in capitals", "another chunk's id", "two ids", "part of a longer id", "no id"],
)
def test_a_line_that_cannot_be_read_costs_the_row_it_must_be_of_or_else_all_that_have_no_line(
    line: bytes, suspected: set[int]
) -> None:
    """Rule 4: they may have been answered, and paid for."""
    reconciliation = Reconciliation([(0, number) for number in range(4)], DIGEST)
    reconciliation.place(row(3), yes(1))
    reconciliation.unreadable(line)
    tally, answers = reconciliation.close(ABSENT, may_send_again=True)

    assert {key[1] for key, answer in answers if answer.error_code == "unreadable"} == suspected
    assert (tally.unreadable_rows, tally.waiting) == (len(suspected), 3 - len(suspected))


def test_a_row_whose_second_line_cannot_be_read_is_not_sent_again() -> None:
    """The readable line says 500, the other may be the answer."""
    reconciliation = Reconciliation([(0, 0), (0, 1)], DIGEST)
    reconciliation.place(row(0), no(1))
    reconciliation.unreadable(BROKEN % row(0).encode())
    tally, answers = reconciliation.close(ABSENT, may_send_again=True)

    assert [answer.error_code for _, answer in answers] == ["unreadable", "missing"]
    assert (tally.failed, tally.waiting, tally.missing) == (1, 1, 1)


def test_a_file_that_ends_within_a_line_says_nothing_of_the_rows_that_were_cut_off() -> None:
    reconciliation = Reconciliation([(0, 0), (0, 1)], DIGEST)
    reconciliation.unreadable(b'{"custom_id": "9f86d081-0', is_cut=True)
    tally, _ = reconciliation.close(ABSENT, may_send_again=True)

    assert (tally.waiting, tally.unreadable_rows, tally.unreadable) == (2, 0, 1)


@pytest.mark.parametrize("name", [f" {row(1)}", f"{row(1)}\n", row(1).upper(), f"\t{row(1).upper()} "])
def test_an_id_with_spaces_around_it_or_in_capitals_names_its_row(name: str) -> None:
    """Our own ids have neither, so no two of them become one."""
    reconciliation = Reconciliation([(0, 0), (0, 1)], DIGEST)

    assert reconciliation.place(name, yes(1)) is Placed.KEPT
    assert dict(reconciliation.close(ABSENT, may_send_again=True)[1])[0, 1] == yes(1)
