"""Many who look for lost batches at once: who is served by which walk of the list."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import pytest

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.model import FileId
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.openai.lost_batches import SharedSearch
from tests.adapters.openai_wire import ADDRESS, KEY, MADE_AT, TIMEOUTS, Account, a_batch

DEADLINE_S: Final = 20.0
SINCE: Final = datetime.fromtimestamp(MADE_AT - 600, UTC)


class Gated(Account):
    """An account whose first answer is known at once, and given when the gate is opened."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        super().__init__(batches)
        self.entered, self.gate = threading.Event(), threading.Event()
        self.errors: list[Exception] = []  # of the answers after the first

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_first = not self.entered.is_set()
        answer = super().handle_request(request)
        if is_first:
            self.entered.set()
            assert self.gate.wait(DEADLINE_S)
        elif self.errors:
            raise self.errors.pop()
        return answer


class Asker(threading.Thread):
    """A thread that looks for the batch marked with its token."""

    def __init__(
        self, search: SharedSearch, token: str, *, since: datetime = SINCE, file_id: FileId | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self.found: list[str] | None = None
        self._ask: Callable[[], Any] = lambda: search.find(token, since, file_id)
        self.start()

    def run(self) -> None:
        try:
            self.found = [batch.batch_id for batch in self._ask()]
        except (Unavailable, ArithmeticError) as error:
            self.error = error

    def waits(self) -> None:
        """Return once it waits for a walk."""
        deadline = time.monotonic() + DEADLINE_S
        while not self._is_waiting():
            assert time.monotonic() < deadline, "it does not wait"

    def _is_waiting(self) -> bool:
        frame = sys._current_frames().get(self.ident or 0)
        while frame is not None and frame.f_code.co_name != "find":
            if frame.f_code.co_filename != threading.__file__:
                return False
            frame = frame.f_back
        # Only the frames of `threading` above `find`: it waits, and is not at work.
        return frame is not None and frame.f_back is not None and self.is_alive()

    def answer(self) -> list[str] | None:
        """Return what it found, once it has come back."""
        self.join(DEADLINE_S)
        assert not self.is_alive()
        return self.found


def marked(number: int, token: str, **fields: object) -> dict[str, Any]:
    return a_batch(number, metadata={"orchestrator_attempt": token}, **fields)


@contextlib.contextmanager
def a_search(account: Account) -> Iterator[SharedSearch]:
    http = HttpClient(f"{ADDRESS}/v1", Secret(KEY), timeouts=TIMEOUTS, transport=account)
    try:
        yield SharedSearch(http)
    finally:
        http.close()


def a_first_asker(search: SharedSearch, account: Gated) -> Asker:
    """Return somebody for whom the list is being read."""
    asker = Asker(search, "first")
    assert account.entered.wait(DEADLINE_S)
    return asker


def test_who_asks_while_the_list_is_being_read_is_answered_by_a_later_reading() -> None:
    """A list that was read before the asking proves no absence: the batch may have come in between."""
    account = Gated([a_batch(0)])
    with a_search(account) as search:
        first = a_first_asker(search, account)
        account.batches.insert(0, marked(1, "second"))
        second = Asker(search, "second")
        second.waits()
        account.gate.set()

        assert first.answer() == []
        assert second.answer() == ["batch_1"]


def test_all_who_wait_share_one_reading_and_each_finds_its_own() -> None:
    """A thousand doubts must not cost a thousand readings of ten pages each."""
    account = Gated([marked(number, f"token {number}") for number in range(250)])
    with a_search(account) as search:
        first = a_first_asker(search, account)
        others = [Asker(search, f"token {number}") for number in range(0, 240, 10)]
        others += [Asker(search, "nobody's", file_id=FileId("file-249")), Asker(search, "nobody's")]
        for other in others:
            other.waits()
        account.gate.set()
        found = [other.answer() for other in others]

    assert first.answer() == []
    assert found == [*([f"batch_{number}"] for number in range(0, 240, 10)), ["batch_249"], []]
    assert account.list_calls == 3 + 3


def test_a_reading_goes_as_far_back_as_the_one_who_looks_furthest() -> None:
    account = Gated([a_batch(number * 10) for number in range(500)] + [marked(5_000, "old")])
    with a_search(account) as search:
        first = a_first_asker(search, account)
        others = [
            Asker(search, "young"),
            Asker(search, "old", since=SINCE - timedelta(seconds=10_000)),
            Asker(search, "young", since=SINCE - timedelta(seconds=300)),
        ]
        for other in others:
            other.waits()
        account.gate.set()

        assert first.answer() == []
        assert [other.answer() for other in others] == [[], ["batch_5000"], []]


def test_a_reading_that_breaks_off_is_an_error_for_all_whom_it_was_for() -> None:
    """No absence may be read from it, by whomever; who asks later is answered by another reading."""
    account = Gated([marked(0, "a")])
    with a_search(account) as search:
        first = a_first_asker(search, account)
        others = [Asker(search, token) for token in ("a", "b", "c")]
        for other in others:
            other.waits()
        account.refusals = {"/v1/batches?": (500, {})}
        account.gate.set()
        answers = [other.answer() for other in others]
        account.refusals = {}

        assert first.answer() == []
        assert answers == [None, None, None]
        assert {type(other.error) for other in others} == {Unavailable}
        assert len({id(other.error) for other in others}) == len(others)
        assert [batch.batch_id for batch in search.find("a", SINCE, None)] == ["batch_0"]
    assert account.list_calls == 3


def test_an_error_that_nobody_expects_leaves_no_one_waiting() -> None:
    """It is told where it happened; the others, whom the reading was for as well, go on without it."""
    account = Gated([marked(0, "mine")])
    account.errors = [ZeroDivisionError()]
    with a_search(account) as search:
        first = a_first_asker(search, account)
        others = [Asker(search, "mine") for _ in range(3)]
        for other in others:
            other.waits()
        account.gate.set()

        assert first.answer() == []
        assert [other.answer() for other in others].count(["batch_0"]) == 2
        assert [type(other.error) for other in others if other.error] == [ZeroDivisionError]


def test_who_asks_alone_again_and_again_reads_the_list_each_time() -> None:
    """Nothing is remembered from one reading to the next."""
    account = Account([a_batch(0)])
    with a_search(account) as search:
        assert list(search.find("mine", SINCE, None)) == []
        account.batches.insert(0, marked(1, "mine"))

        assert [batch.batch_id for batch in search.find("mine", SINCE, None)] == ["batch_1"]


@pytest.mark.parametrize("token", [["mine"], {"mine": 1}, 7, None])
def test_a_mark_that_is_no_text_is_no_mark(token: object) -> None:
    account = Account([a_batch(0, metadata={"orchestrator_attempt": token}, input_file_id=token)])
    with a_search(account) as search:
        assert list(search.find("mine", SINCE, FileId("file-7"))) == []
