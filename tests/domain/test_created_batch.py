"""The answer to a create: which id is surely the batch's, and which may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.created_batch import candidates, created_batch, field_names, unwrapped
from orchestrator.domain.model import is_usable_id

LONG = "bGl0ZWxsbV9wcm94eTttb2RlbF9pZDpkMGI3" * 9  # 324 characters, as LiteLLM makes them


@pytest.mark.parametrize(
    ("content", "batch_id"),
    [
        ({"id": "b7", "object": "batch", "status": "pending", "created_at": 1}, "b7"),
        ({"id": "b7", "status": "validating"}, "b7"),
        ({"id": "msgbatch_7", "type": "message_batch", "processing_status": "in_progress"}, "msgbatch_7"),
        ({"id": "batch_7"}, "batch_7"),
        ({"batch_id": "b7", "batch": {"id": "b8"}}, "b7"),
        ({"batch_id": 7}, "7"),
        ({"batch": {"batch_id": "b7"}}, "b7"),
        ({"job": {"id": "b7"}}, "b7"),
        ({"code": 0, "message": "ok", "data": {"id": "b7", "status": "queued"}}, "b7"),
        ({"code": 0, "data": {"batch": {"id": "b7"}}}, "b7"),
        ({"result": {"id": "b7", "object": "batch"}}, "b7"),
        ({"data": [{"batch_id": "b7"}]}, "b7"),
        ({"id": "req_1", "status": "ok", "data": {"id": "b7", "object": "batch"}}, "b7"),
        ({"id": LONG, "object": "batch"}, LONG),
        ({"id": "projects/p/locations/eu/batches/7=+?#", "object": "batch"}, "projects/p/locations/eu/batches/7=+?#"),
    ],
)
def test_an_id_is_taken_where_it_is_surely_the_batch_s(content: object, batch_id: str) -> None:
    assert created_batch(content) == batch_id


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"id": "b7"}, ("b7",)),  # of the request, the call, the batch: who knows
        ({"id": "b7", "object": "file", "status": "processed"}, ("b7",)),
        ({"id": "b7", "status": "error"}, ("b7",)),
        ({"result": "b7"}, ("b7",)),
        ({"data": [{"id": "b7", "status": "queued"}, {"id": "b8", "status": "queued"}]}, ("b7", "b8")),
        ({"ok": True, "ticket": {"uuid": "b7"}}, ("b7",)),
        ({"requestId": "r1", "queue": {"batchId": "b7"}}, ("b7", "r1")),
        ({"data": {"task_id": 7}}, ("7",)),
        ({"name": "operations/7"}, ("operations/7",)),
        ({"requests": [{"custom_id": "0123abcd-0-1"}]}, ()),
        ({"batch_id": "../files"}, ()),
        ({"batch_id": ""}, ()),
        ({}, ()),
        ("b7", ()),
        (None, ()),
    ],
)
def test_an_id_that_may_be_another_thing_s_is_offered_and_not_taken(content: object, found: tuple[str, ...]) -> None:
    assert created_batch(content) is None
    assert candidates(content) == found


def test_only_names_of_fields_are_shown() -> None:
    content: dict[str, Any] = {"code": 0, "data": {"ref": "Q<row 3>", "two words": 1}, "Q<row 3>": 2, "items": []}

    assert field_names(content) == ("code", "data.ref", "items")
    assert field_names(["x"]) == field_names(None) == ()
    assert len(field_names({f"k{number}": 0 for number in range(99)})) == 12


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "batch_id", "data", "job", "status", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_read_and_gives_only_ids_that_can_be_used(content: object) -> None:
    found = [*candidates(content), created_batch(content) or "b7"]

    assert all(map(is_usable_id, found))


RUNNING = {"id": "b7", "object": "batch", "status": "in_progress"}


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ({"code": 0, "message": "ok", "data": RUNNING}, RUNNING),
        ({"status": "success", "data": RUNNING}, RUNNING),  # of the call: the batch still runs
        ({"data": {"batch": RUNNING}}, RUNNING),
        ({"job": {"batch_id": "b7", "state": "queued"}}, {"batch_id": "b7", "state": "queued"}),
    ],
)
def test_the_answer_to_a_poll_is_read_out_of_its_envelope(content: object, meant: object) -> None:
    assert unwrapped(content) == meant


@pytest.mark.parametrize(
    "content",
    [
        RUNNING,
        {"batch_id": "b7", "task_status": "SUCCESS", "batch": {"id": "b7", "status": "validating"}},
        {"task_status": "SUCCESS", "batch": {"id": "b7", "status": "validating"}},
        {"status": "completed", "result": {"custom_id": "0123abcd-0-1", "id": "r1"}},
        {"status": "completed", "data": [{"id": "r1", "status": "completed"}, {"id": "r2", "status": "completed"}]},
        {"error": {"message": "no such batch"}},
        [RUNNING],
        None,
    ],
)
def test_an_answer_without_an_envelope_is_left_as_it_is(content: object) -> None:
    assert unwrapped(content) == content
