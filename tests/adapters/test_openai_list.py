"""The list of batches: finding a lost one by it, and asking it how a thousand stand."""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import httpx
import orjson
import pytest

from orchestrator.domain import retry
from orchestrator.domain.batch import LostCreate
from orchestrator.domain.errors import NotAuthorized, ProviderError, RateLimited, Unidentified
from orchestrator.domain.model import BatchId, FileId, Outcome
from orchestrator.domain.policy import Policy
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.listing import PAGE_BYTES_MAX
from orchestrator.providers.openai.status_list import CALL_EVERY_S, LIST_FROM, PAGES_MAX, WALK_S_MAX, StatusBoard
from tests.adapters.openai_wire import ADDRESS, COMPLETED, KEY, MADE_AT, TIMEOUTS, TOKEN, Account, a_batch, an_openai
from tests.adapters.wire import Answers

MARK: Final = {"metadata": {"orchestrator_attempt": TOKEN}}
SINCE: Final = datetime.fromtimestamp(MADE_AT - 600, UTC)
PAGE_COUNT: Final = 10  # of a thousand batches: a walk that began in one minute may end in the next
NOW_S: Final = int(datetime.now(UTC).timestamp())


def lost(since: datetime, file_id: str | None, *, is_other_key: bool = False) -> LostCreate:
    file = FileId(file_id) if file_id else None
    return LostCreate(
        token=TOKEN, since=since, until=since + timedelta(days=2), file_id=file, is_other_key=is_other_key
    )


def found(account: httpx.BaseTransport, since: datetime = SINCE, file_id: str | None = None) -> list[str]:
    with an_openai(transport=account) as provider:
        batches = provider.find(lost(since, file_id))
    assert batches is not None
    return [batch.batch_id for batch in batches]


def found_by_another_key(account: httpx.BaseTransport, file_id: str | None = "file-0") -> list[str] | None:
    with an_openai(transport=account) as provider:
        batches = provider.find(lost(SINCE, file_id, is_other_key=True))
    return None if batches is None else [batch.batch_id for batch in batches]


# Finding one


def test_a_batch_is_found_by_its_mark_on_whatever_page_it_stands() -> None:
    account = Account([a_batch(number) for number in range(250)] + [a_batch(250, **MARK)])

    assert found(account) == ["batch_250"]
    assert account.calls == [
        "GET /v1/batches?limit=100",
        "GET /v1/batches?limit=100&after=batch_99",
        "GET /v1/batches?limit=100&after=batch_199",
    ]


def test_duplicate_batches_come_oldest_first() -> None:
    batches = [a_batch(number, **(MARK if number in (3, 120, 7) else {})) for number in range(130)]

    assert found(Account(batches)) == ["batch_120", "batch_7", "batch_3"]


@pytest.mark.parametrize("metadata", [None, {}, "words", {"orchestrator_attempt": "another"}, {"another": TOKEN}])
def test_where_the_mark_was_dropped_the_input_file_is_one_too(metadata: object) -> None:
    """A file is of one attempt only. Without it, another's batch is not ours."""
    account = Account([a_batch(0, metadata=metadata), a_batch(1)])

    assert found(account, file_id="file-0") == ["batch_0"]
    assert found(account, file_id="file-7") == []
    assert found(account) == []


@pytest.mark.parametrize(
    "files", [{}, {"file-0": "orchestrator-another.jsonl"}, {"file-1": f"orchestrator-{TOKEN}.jsonl"}]
)
def test_another_key_that_finds_nothing_and_does_not_see_the_file_proves_nothing(files: dict[str, str]) -> None:
    """The ids of two accounts may be the same, and so a file of that id, or a batch made from one, is not yet ours."""
    account = Account([a_batch(0), a_batch(1)])
    account.files = files

    assert found_by_another_key(account) is None
    assert found_by_another_key(account, None) is None


def test_another_key_that_sees_the_attempts_own_file_is_of_the_same_account() -> None:
    """A rotated key: its id, and our token in its name. From then on its list counts, the empty one, too."""
    account = Account([a_batch(1)])
    account.files = {"file-0": f"orchestrator-{TOKEN}.jsonl"}

    assert found_by_another_key(account) == []
    account.batches.append(a_batch(0, metadata=None))
    assert found_by_another_key(account) == ["batch_0"]


def test_what_another_key_finds_under_our_token_is_ours() -> None:
    assert found_by_another_key(Account([a_batch(0), a_batch(1, **MARK)])) == ["batch_1"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_file_that_cannot_be_asked_for_now_is_asked_for_again(status: int) -> None:
    account = Account([a_batch(0)])
    account.refusals["/v1/files/file-0"] = (status, {})

    with pytest.raises(ProviderError):
        found_by_another_key(account)


def test_the_right_key_asks_for_no_file() -> None:
    account = Account([a_batch(0)])

    assert found(account, file_id="file-0") == ["batch_0"]
    assert account.calls == ["GET /v1/batches?limit=100"]


def test_a_batch_without_a_mark_and_without_a_file_is_nobodys() -> None:
    assert found(Account([a_batch(0, metadata=None, input_file_id=None)])) == []


def test_what_is_older_than_the_create_is_not_read() -> None:
    account = Account([a_batch(number * 10) for number in range(500)])

    assert found(account) == []
    assert account.list_calls == 2  # a page of a thousand seconds, of which six hundred count, and one that is past it


def test_one_old_batch_among_young_ones_ends_nothing() -> None:
    """A list is newest first, but nobody documents how exactly."""
    batches = [a_batch(number) for number in range(100)]
    batches[40] = a_batch(40, created_at=1)
    account = Account([*batches, a_batch(100, **MARK)])

    assert found(account) == ["batch_100"]


@pytest.mark.parametrize("created_at", [None, "", "yesterday", [], True, 1e30])
def test_a_time_that_cannot_be_read_is_not_old(created_at: object) -> None:
    account = Account(
        [a_batch(0, created_at=created_at)] * 1 + [a_batch(1, **(MARK | {"created_at": created_at}))], page_length=1
    )

    assert found(account) == ["batch_1"]


@pytest.mark.parametrize("words", ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00"])
def test_a_time_in_words_is_read(words: str) -> None:
    """Azure prints them so. One without a zone is UTC, like all the others."""
    account = Account([a_batch(0, created_at=words), a_batch(1, **MARK)], page_length=1)

    assert found(account) == []
    assert account.list_calls == 1


@pytest.mark.parametrize(
    "answers",
    [
        [(500, b"")],
        [(429, b"")],
        [(404, b"")],
        [(200, b"<html>")],
        [(200, b"[]")],
        [(200, b'{"error":{"message":"no","code":500}}')],
        [(200, orjson.dumps({"data": [{"id": None}], "has_more": False}))],
        [(200, orjson.dumps({"data": [{"id": "../files"}], "has_more": False}))],
        [(200, orjson.dumps({"data": [], "has_more": True}))],
        [(200, orjson.dumps({"data": [a_batch(0)], "has_more": True}))],
        [(200, orjson.dumps({"data": [a_batch(0)], "has_more": True})), (502, b"")],
        [(200, b'{"data":[' + b" " * PAGE_BYTES_MAX + b'],"has_more":false}')],
    ],
)
def test_a_list_that_breaks_off_is_never_taken_for_one_without_the_batch(answers: list[tuple[int, bytes]]) -> None:
    """Else a batch would be called absent that nobody has looked for: the second payment."""
    with pytest.raises(ProviderError):
        found(Answers(*answers))


@pytest.mark.parametrize("length", [1, 2, 100])
def test_a_list_that_does_not_say_whether_there_is_more_is_read_until_nothing_new_comes(length: int) -> None:
    account = Account(
        [a_batch(number) for number in range(3)] + [a_batch(3, **MARK)], page_length=length, has_more=None
    )

    assert found(account) == ["batch_3"]


# Asking how many stand


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def a_board(account: Account, time: Time) -> Iterator[StatusBoard]:
    http = HttpClient(f"{ADDRESS}/v1", Secret(KEY), timeouts=TIMEOUTS, transport=account)
    try:
        yield StatusBoard(http, monotonic=time)
    finally:
        http.close()


def running(batch_count: int) -> list[dict[str, Any]]:
    return [a_batch(number, created_at=NOW_S - number, status="in_progress") for number in range(batch_count)]


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
    with an_openai(transport=account) as provider:
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
    with an_openai(transport=account) as provider:
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


class Odd(Account):
    """An account whose list is answered with what a test says."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        super().__init__(running(50))
        self._answers = [(200, content) if not isinstance(content, tuple) else content for content in answers]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions["target"].decode()
        if not target.startswith("/v1/batches?"):
            return super().handle_request(request)
        self.calls.append(target)
        self.list_calls += 1
        status, content = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        body = orjson.dumps(content)
        return httpx.Response(status, headers={"content-length": str(len(body))}, stream=httpx.ByteStream(body))


OURS: Final = a_batch(7, metadata={"orchestrator_attempt": TOKEN})
NEIGHBOURS: Final = ({"id": 7}, {"object": "batch"}, "batch_9", None, {"id": "../x"})


@pytest.mark.parametrize("odd", NEIGHBOURS)
def test_an_odd_neighbour_hides_no_batch_of_ours_and_proves_no_absence(odd: object) -> None:
    page = {"data": [a_batch(6), odd, OURS, a_batch(8)], "has_more": False}

    assert found(Odd(page)) == ["batch_7"]
    with pytest.raises(Unidentified, match="without a usable id"):
        found(Odd({"data": [a_batch(6), odd, a_batch(8)], "has_more": False}))


def test_a_bare_array_shows_what_is_there_and_not_what_is_absent() -> None:
    """It has no `has_more`: it may be the first page of many."""
    assert found(Odd([a_batch(6), OURS])) == ["batch_7"]
    with pytest.raises(Unidentified, match="bare array"):
        found(Odd([a_batch(6)]))


@pytest.mark.parametrize(
    "page",
    [
        {"data": [], "has_more": True},
        {"data": [{"id": 7}], "has_more": True},
        {"data": [a_batch(number) for number in range(100)]},  # as long as a page may be, again and again
        {"batches": []},
        {},
        7,
    ],
)
def test_a_list_that_may_have_more_than_it_shows_proves_no_absence(page: object) -> None:
    with pytest.raises(Unidentified):
        found(Odd(page))


def test_what_a_broken_list_has_shown_of_ours_is_found_all_the_same() -> None:
    first = {"data": [a_batch(6), OURS], "has_more": True}

    assert found(Odd(first, {"data": [], "has_more": True})) == ["batch_7"]
    assert found(Odd(first, (500, {"error": {"message": "it broke"}}))) == ["batch_7"]


def test_a_list_that_is_shorter_than_a_page_and_the_same_again_is_whole() -> None:
    """Some ignore `after`, and have no `has_more` (Azure)."""
    assert found(Odd({"data": [a_batch(6), a_batch(8)]})) == []


@pytest.mark.parametrize("answer", [(403, {"error": {"message": "Missing scopes: api.batch.read"}}), (405, {}), [1]])
def test_a_list_that_is_not_to_be_had_stops_no_poll(answer: object) -> None:
    """The key may ask about each batch, and not list them."""
    account = Odd(answer)
    with an_openai(transport=account) as provider:
        assert all(provider.status(BatchId(f"batch_{number}")).is_running for number in range(50))

    assert account.list_calls == 1


def test_a_page_with_an_odd_entry_answers_the_polls_of_the_others() -> None:
    account = Odd({"data": [*running(50), {"id": 7}], "has_more": False})
    with an_openai(transport=account) as provider:
        assert all(provider.status(BatchId(f"batch_{number}")).is_running for number in range(50))

    assert account.list_calls == 1
