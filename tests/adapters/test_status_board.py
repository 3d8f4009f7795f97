"""Polls of many batches at once: a list's statuses, read again when they are old."""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import httpx
import pytest

from orchestrator.domain import retry
from orchestrator.domain.errors import NotAuthorized, RateLimited
from orchestrator.domain.model import BatchId, Outcome
from orchestrator.domain.policy import Policy
from orchestrator.providers.status_board import (
    CALL_EVERY_S,
    LIST_FROM,
    PAGES_MAX,
    WALK_S_MAX,
    PolledFromList,
    StatusBoard,
)
from tests.adapters.openai_wire import COMPLETED, NOW_S, Account, Odd, a_batch, an_openai, running

PAGE_COUNT: Final = 10  # of a thousand batches: a walk that began in one minute may end in the next


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def a_board(account: Account, time: Time) -> Iterator[StatusBoard]:
    with an_openai(transport=account) as provider:
        yield StatusBoard(provider, monotonic=time)


@contextlib.contextmanager
def polled(account: Account) -> Iterator[PolledFromList]:
    with an_openai(transport=account) as provider:
        yield PolledFromList(provider, provider)


def look_at_all(board: StatusBoard, account: Account) -> dict[str, Any]:
    return {batch["id"]: board.look(BatchId(batch["id"])) for batch in account.batches}


def test_few_batches_are_asked_for_one_by_one() -> None:
    account = Account(running(LIST_FROM - 1))
    with a_board(account, Time()) as board:
        seen = look_at_all(board, account)

    assert set(seen.values()) == {None}
    assert account.calls == []


def test_a_thousand_are_told_by_ten_calls_and_told_again_by_none() -> None:
    account, time = Account(running(1_000)), Time()
    with a_board(account, time) as board:
        first, again = look_at_all(board, account), look_at_all(board, account)
        time.now_s += 10 * CALL_EVERY_S
        later = look_at_all(board, account)

    assert sum(status is None for status in first.values()) == LIST_FROM - 1  # before there were many
    assert None not in again.values()
    assert None not in later.values()
    assert account.list_calls == len(account.calls) == 20


def test_a_walk_goes_no_deeper_than_the_oldest_that_somebody_asks_about() -> None:
    account, time = Account(running(2_000)), Time()
    with a_board(account, time) as board:
        asked = [BatchId(f"batch_{number}") for number in range(150)]
        for batch_id in asked:
            board.look(batch_id)
        assert account.list_calls == 20  # the first of a process goes all the way
        time.now_s += 20 * CALL_EVERY_S
        for batch_id in asked:
            board.look(batch_id)

    assert account.list_calls == 22


def test_a_walk_ends_where_no_batch_can_still_be_under_way() -> None:
    old = [a_batch(number, created_at=NOW_S - 200_000 - number) for number in range(1_000, 3_000)]
    account = Account([*running(50), *old])
    with a_board(account, Time()) as board:
        for number in range(50):
            board.look(BatchId(f"batch_{number}"))

    assert account.list_calls == 2


def test_a_walk_is_no_longer_than_fifty_pages() -> None:
    """Five thousand batches; what stands further down is asked for by itself, and no walk takes the place of polls."""
    account = Account(running(PAGES_MAX * 100 + 300))
    with a_board(account, Time()) as board:
        for number in range(LIST_FROM):
            board.look(BatchId(f"batch_{number}"))

        assert account.list_calls == PAGES_MAX
        assert board.look(BatchId(f"batch_{PAGES_MAX * 100 - 1}")) is not None
        assert board.look(BatchId(f"batch_{PAGES_MAX * 100}")) is None
    assert account.list_calls == PAGES_MAX


def test_a_walk_takes_no_longer_than_a_minute() -> None:
    """A provider that needs seven seconds for a page."""
    time = Time()

    class Slow(Account):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            time.now_s += 7.0
            return super().handle_request(request)

    account = Slow(running(3_000))
    with a_board(account, time) as board:
        for number in range(LIST_FROM):
            board.look(BatchId(f"batch_{number}"))

    assert account.list_calls == WALK_S_MAX // 7.0 + 1


def test_an_end_is_told_once_and_then_asked_for() -> None:
    """Who asks again found no results where they were announced: the list must not answer from memory."""
    ended = COMPLETED | {"id": "batch_0", "created_at": NOW_S}
    account = Account([ended, *running(50)[1:]])
    with polled(account) as provider:
        for number in range(50):
            provider.status(BatchId(f"batch_{number}"))
        assert provider.status(BatchId("batch_1")).is_running
        before = list(account.calls)
        outcomes = [provider.status(BatchId("batch_0")).outcome for _ in range(3)]

    assert outcomes == [Outcome.COMPLETED] * 3
    assert account.calls[len(before) :].count("GET /v1/batches/batch_0") >= 2


def test_a_batch_that_the_list_does_not_show_is_asked_for() -> None:
    """It may be new, and the list behind; or very old."""
    account = Account(running(50))
    account.unlisted = {"batch_0"}
    with polled(account) as provider:
        for number in range(1, 50):
            provider.status(BatchId(f"batch_{number}"))

        assert [provider.status(BatchId("batch_0")).is_running for _ in range(2)] == [True, True]
    assert account.calls[-2:] == ["GET /v1/batches/batch_0"] * 2
    assert account.list_calls == 1


@pytest.mark.parametrize("status", [404, 405, 500, 503])
def test_a_list_that_is_not_there_or_broken_stops_no_poll(status: int) -> None:
    account, time = Account(running(50)), Time()
    account.refusals = {"/v1/batches?": (status, {})}
    with a_board(account, time) as board:
        seen = look_at_all(board, account)
        assert set(seen.values()) == {None}
        assert account.list_calls == 1
        account.refusals = {}
        time.now_s += 60.0

        assert None not in look_at_all(board, account).values()


def test_who_is_told_to_wait_waits_and_so_do_all_the_others() -> None:
    account, time = Account(running(50)), Time()
    account.refusals = {"/v1/batches?": (429, {"retry-after": "30"})}
    with a_board(account, time) as board:
        for number in range(LIST_FROM - 1):
            board.look(BatchId(f"batch_{number}"))
        for _ in range(20):
            with pytest.raises(RateLimited) as caught:
                board.look(BatchId("batch_49"))
            assert caught.value.retry_after_s is not None
            assert caught.value.retry_after_s <= 30.0
            time.now_s += 1.0
        assert account.list_calls == 1
        account.refusals = {}
        time.now_s += 10.0

        assert board.look(BatchId("batch_49")) is not None


def test_a_refused_key_is_told_to_whoever_asks() -> None:
    account = Account(running(50))
    account.refusals = {"/v1/batches?": (401, {})}
    with a_board(account, Time()) as board, pytest.raises(NotAuthorized):
        look_at_all(board, account)


def test_threads_that_ask_at_once_share_one_walk() -> None:
    account, time = Account(running(300)), Time()
    with a_board(account, time) as board:
        for batch in account.batches[-(LIST_FROM - 1) :]:
            board.look(BatchId(batch["id"]))
        ready = threading.Barrier(8)
        missed: list[object] = []

        def ask(start: int) -> None:
            ready.wait(10)
            missed.extend(n for n in range(start, 290, 8) if board.look(BatchId(f"batch_{n}")) is None)

        threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert missed == []
    assert account.list_calls == 3


def calls_per_minute(batch_count: int, *, over_s: float, minutes: int, with_list: bool) -> list[int]:
    """Poll batches that were created over some time, as the poll step does; return the calls of each minute."""
    unborn, account, time, policy = running(batch_count)[::-1], Account([]), Time(), Policy()
    began_s, per_minute, order = time.now_s, [0] * minutes, count()
    born_s = [began_s + over_s * number / batch_count for number in range(batch_count)]
    due = [(born_s[number] + 1.0, next(order), number) for number in range(batch_count)]
    heapq.heapify(due)
    with a_board(account, time) as board:
        while due[0][0] < began_s + 60.0 * minutes:
            time.now_s, _, number = heapq.heappop(due)
            while len(account.batches) < batch_count and born_s[len(account.batches)] <= time.now_s:
                account.batches.insert(0, unborn[len(account.batches)] | {"id": f"batch_{len(account.batches)}"})
            before = account.list_calls
            told = board.look(BatchId(f"batch_{number}")) if with_list else None
            per_minute[int((time.now_s - began_s) // 60)] += account.list_calls - before + (told is None)
            wait_s = retry.poll_s(time.now_s - born_s[number], policy, draw=(number * 0.618) % 1)
            heapq.heappush(due, (time.now_s + wait_s, next(order), number))
    return per_minute


@pytest.mark.slow
def test_a_thousand_batches_under_way_cost_at_most_thirty_calls_of_the_list_a_minute() -> None:
    """Two thousand an hour is what the provider lets one create. Each is asked for by itself once, when it is new."""
    born_per_minute = 2_000 / 60
    shared = calls_per_minute(1_000, over_s=1_800.0, minutes=36, with_list=True)
    alone = calls_per_minute(1_000, over_s=1_800.0, minutes=36, with_list=False)

    assert max(shared) <= 60.0 / CALL_EVERY_S + LIST_FROM + born_per_minute
    assert max(shared[32:]) <= 60.0 / CALL_EVERY_S + PAGE_COUNT
    assert min(alone[32:]) > 500


@pytest.mark.parametrize("answer", [(403, {"error": {"message": "Missing scopes: api.batch.read"}}), (405, {}), [1]])
def test_a_list_that_is_not_to_be_had_stops_no_poll(answer: object) -> None:
    """The key may ask about each batch, and not list them."""
    account = Odd(answer)
    with polled(account) as provider:
        assert all(provider.status(BatchId(f"batch_{number}")).is_running for number in range(50))

    assert account.list_calls == 1


def test_a_page_with_an_odd_entry_answers_the_polls_of_the_others() -> None:
    account = Odd({"data": [*running(50), {"id": 7}], "has_more": False})
    with polled(account) as provider:
        assert all(provider.status(BatchId(f"batch_{number}")).is_running for number in range(50))

    assert account.list_calls == 1
