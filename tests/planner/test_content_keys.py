"""A content key is equal for equal requests, whatever job and row they are of; an index of keys finds each one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.batch import LineEnvelope
from orchestrator.job_files.answer_index import ABSENT, IndexDraft
from orchestrator.job_files.content_keys import KEY_BYTES, ContentKeys

ENVELOPES = (
    LineEnvelope(),
    LineEnvelope(before_id=b'{"method":"POST","custom_id":"', before_body=b'","url":"/v1","body":', after_body=b"}"),
)
# Few different bytes, so that keys are equal, and halves of them, too.
KEYS = st.lists(st.tuples(st.sampled_from([0, 1, 255]), st.sampled_from([0, 1])), max_size=60)


def a_line(envelope: LineEnvelope, custom_id: bytes, body: bytes) -> bytes:
    return envelope.before_id + custom_id + envelope.before_body + body + envelope.after_body + b"\n"


def bytes_of(keys: list[tuple[int, int]]) -> bytes:
    return b"".join(bytes([high]) + bytes(7) + bytes([low]) + bytes(7) for high, low in keys)


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_the_key_is_of_the_body_and_the_scope_and_not_of_the_row(envelope: LineEnvelope) -> None:
    keys = ContentKeys(envelope, "a scope")
    key = keys.of(a_line(envelope, b"0123abcd-0-0", b'{"a":1}'))

    assert len(key) == KEY_BYTES
    assert keys.of(a_line(envelope, b"fedc9876-ffff-12345", b'{"a":1}')) == key
    assert keys.of(a_line(envelope, b"0123abcd-0-0", b'{"a":2}')) != key
    assert ContentKeys(envelope, "another scope").of(a_line(envelope, b"0123abcd-0-0", b'{"a":1}')) != key


def test_the_same_body_at_two_endpoints_is_two_requests() -> None:
    keys = {
        ContentKeys(envelope, "").of(a_line(envelope, b"x", b"{}"))
        for envelope in (
            LineEnvelope(before_body=b'","url":"/v1/chat/completions","body":'),
            LineEnvelope(before_body=b'","url":"/v1/embeddings","body":'),
        )
    }

    assert len(keys) == 2


@given(st.lists(KEYS, max_size=6), KEYS, st.integers(1, 40))
def test_each_key_is_found_at_its_first_place_and_no_other(
    added: list[list[tuple[int, int]]], wanted: list[tuple[int, int]], spill_rows: int
) -> None:
    """In memory and from the disk alike, whatever is added together."""
    draft, expected, place = IndexDraft(spill_rows), dict[tuple[int, int], int](), 0
    for keys in added:
        for number, key in enumerate(keys):
            expected.setdefault(key, place + number)
        draft.add(bytes_of(keys), np.arange(place, place + len(keys)))
        place += len(keys)

    index = draft.close()

    assert len(index) == len(expected)
    assert index.find(bytes_of(wanted)).tolist() == [expected.get(key, ABSENT) for key in wanted]
