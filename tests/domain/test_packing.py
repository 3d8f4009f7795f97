"""Where one chunk ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.packing import Packer, tokens_of
from orchestrator.domain.policy import Limits

SIZES = st.lists(st.integers(1, 50), max_size=200)
LIMITS = st.builds(
    Limits,
    requests_max=st.integers(1, 9),
    bytes_max=st.integers(50, 120),
    tokens_max=st.none() | st.integers(17, 40),  # 50 bytes are 17 tokens
)


def pack(sizes: Iterable[int], limits: Limits) -> list[range]:
    """Cut requests of these sizes as the planner does: each range holds positions in `sizes`."""
    packer, chunks, start, count = Packer(limits), list[range](), 0, 0
    for position, size in enumerate(sizes):
        assert not packer.too_large(size)
        if packer.starts_new(size):
            chunks.append(range(start, position))
            start = position
        count = position + 1
    return [*chunks, range(start, count)] if count else chunks


@given(SIZES, LIMITS)
def test_every_row_travels_exactly_once_and_in_order(sizes: list[int], limits: Limits) -> None:
    assert [row for chunk in pack(sizes, limits) for row in chunk] == list(range(len(sizes)))


def test_the_first_request_of_all_opens_no_new_chunk_however_large_it_is() -> None:
    """Whether it is too large to travel is another question, which is asked before."""
    packer = Packer(Limits(requests_max=9, bytes_max=50))

    assert [packer.starts_new(size) for size in (51, 1, 51)] == [False, True, True]


@given(SIZES, LIMITS)
def test_no_chunk_is_over_a_limit_and_none_is_empty(sizes: list[int], limits: Limits) -> None:
    for chunk in pack(sizes, limits):
        assert 1 <= len(chunk) <= limits.requests_max
        assert sum(sizes[row] for row in chunk) <= limits.bytes_max
        assert limits.tokens_max is None or sum(tokens_of(sizes[row]) for row in chunk) <= limits.tokens_max


@given(SIZES, LIMITS)
def test_a_chunk_ends_only_where_the_next_request_did_not_fit(sizes: list[int], limits: Limits) -> None:
    """Greedy: no chunk could have taken the first request of the next one."""
    chunks = pack(sizes, limits)

    for chunk, following in pairwise(chunks):
        longer = [sizes[row] for row in (*chunk, following[0])]
        assert (
            len(longer) > limits.requests_max
            or sum(longer) > limits.bytes_max
            or (limits.tokens_max is not None and sum(map(tokens_of, longer)) > limits.tokens_max)
        )


@given(SIZES, LIMITS)
def test_the_same_sizes_give_the_same_chunks_however_they_arrive(sizes: list[int], limits: Limits) -> None:
    assert pack(iter(sizes), limits) == pack(tuple(sizes), limits)


@given(SIZES, st.integers(0, 200), LIMITS)
def test_what_comes_later_changes_no_chunk_that_is_closed(sizes: list[int], cut: int, limits: Limits) -> None:
    """All chunks of a beginning but its last are those of the whole."""
    closed = pack(sizes[:cut], limits)[:-1]

    assert pack(sizes, limits)[: len(closed)] == closed


@pytest.mark.parametrize(
    ("sizes", "limits", "chunks"),
    [
        ([], Limits(requests_max=2, bytes_max=10), []),
        ([1], Limits(requests_max=2, bytes_max=10), [range(1)]),
        ([1, 1, 1], Limits(requests_max=2, bytes_max=10), [range(2), range(2, 3)]),
        ([5, 5, 1], Limits(requests_max=9, bytes_max=10), [range(2), range(2, 3)]),
        ([10, 10], Limits(requests_max=9, bytes_max=10), [range(1), range(1, 2)]),
        ([3, 3, 3], Limits(requests_max=9, bytes_max=99, tokens_max=2), [range(2), range(2, 3)]),
        ([1, 1, 1], Limits(requests_max=9, bytes_max=99, tokens_max=2), [range(2), range(2, 3)]),
    ],
)
def test_these_sizes_are_cut_here(sizes: list[int], limits: Limits, chunks: list[range]) -> None:
    """Every limit is inclusive."""
    assert pack(sizes, limits) == chunks


@pytest.mark.parametrize(
    ("size", "limits", "too_large"),
    [
        (10, Limits(requests_max=1, bytes_max=10), False),
        (11, Limits(requests_max=1, bytes_max=10), True),
        (9, Limits(requests_max=1, bytes_max=99, tokens_max=3), False),
        (10, Limits(requests_max=1, bytes_max=99, tokens_max=3), True),
    ],
)
def test_a_request_is_too_large_when_no_chunk_could_hold_it(size: int, limits: Limits, *, too_large: bool) -> None:
    assert Packer(limits).too_large(size) is too_large


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (3, 1), (4, 2), (3_000, 1_000)])
def test_tokens_are_estimated_from_above(size: int, tokens: int) -> None:
    assert tokens_of(size) == tokens
