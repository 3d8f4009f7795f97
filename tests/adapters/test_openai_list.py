"""The list of batches: finding a lost one by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import orjson
import pytest

from orchestrator.domain.batch import LostCreate
from orchestrator.domain.errors import ProviderError, Unidentified
from orchestrator.domain.model import FileId
from orchestrator.providers.listing import PAGE_BYTES_MAX
from tests.adapters.openai_wire import MADE_AT, TOKEN, Account, Odd, a_batch, an_openai
from tests.adapters.wire import Answers

MARK: Final = {"metadata": {"orchestrator_attempt": TOKEN}}
SINCE: Final = datetime.fromtimestamp(MADE_AT - 600, UTC)


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


OURS: Final = a_batch(7, metadata={"orchestrator_attempt": TOKEN})
NEIGHBOURS: Final = ({"id": 7}, {"object": "batch"}, "batch_9", None, {"id": "../x"})


@pytest.mark.parametrize("odd", NEIGHBOURS)
def test_an_odd_neighbour_hides_no_batch_of_ours_and_proves_no_absence(odd: object) -> None:
    page = {"data": [a_batch(6), odd, OURS, a_batch(8)], "has_more": False}

    assert found(Odd(page)) == ["batch_7"]
    with pytest.raises(Unidentified, match="without a usable id"):
        found(Odd({"data": [a_batch(6), odd, a_batch(8)], "has_more": False}))


@pytest.mark.parametrize(
    ("wrap", "proves"),
    [
        (lambda batches: {"code": 0, "data": {"object": "list", "data": batches, "has_more": False}}, True),
        (lambda batches: {"data": {"data": batches}}, True),
        (lambda batches: {"batches": batches, "has_more": False}, True),
        (lambda batches: {"data": {"batches": batches}}, False),
        (lambda batches: {"batches": batches}, False),
        (lambda batches: {"items": batches, "total": 1}, False),
    ],
)
def test_a_list_in_another_form_is_read_and_proves_an_absence_where_it_says_that_it_ends(
    wrap: Callable[[object], object], *, proves: bool
) -> None:
    assert found(Odd(wrap([a_batch(6), OURS]))) == ["batch_7"]
    if proves:
        assert found(Odd(wrap([a_batch(6)]))) == []
    else:
        with pytest.raises(Unidentified, match="does not say where it ends"):
            found(Odd(wrap([a_batch(6)])))


def test_a_bare_array_shows_what_is_there_and_not_what_is_absent() -> None:
    """It has no `has_more`: it may be the first page of many."""
    assert found(Odd([a_batch(6), OURS])) == ["batch_7"]
    with pytest.raises(Unidentified, match="does not say where it ends"):
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
