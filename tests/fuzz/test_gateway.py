"""Requests of every kind to the gateway: each is answered, none with a 500, and what is refused has made nothing.

These know nothing of what the server says of itself: paths nobody described, bodies that are no JSON. Requests drawn
from its description: test_openapi.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.in_process import Gateway, a_gateway, a_row
from tests.tiers import examples

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
PIECES: Final = st.sampled_from(
    [
        "v1",
        "batches",
        "files",
        "content",
        "cancel",
        "admin",
        "bill",
        "faults",
        "resource",
        "batch-llm",
        "healthz",
        "..",
        "",
    ]
) | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=8)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["requests", "custom_id", "params", "model", "messages", "content", "role", "input_file_id"]
            )
            | st.sampled_from(["endpoint", "metadata", "completion_window", "max_tokens", "create", "line", "seed"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ROWS: Final = st.lists(st.builds(a_row, st.text(max_size=5), st.text(max_size=5), extra=JSON), min_size=1, max_size=3)
BODIES: Final = (
    st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | ROWS.map(lambda rows: json.dumps({"requests": rows}).encode())
)
SETTINGS: Final = settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One gateway for all requests: what one of them does to it, the next one meets."""
    with a_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@SETTINGS
@given(
    st.sampled_from(METHODS), st.lists(PIECES, max_size=5), st.none() | st.just("local") | st.text(max_size=3), BODIES
)
def test_no_path_no_verb_and_no_body_is_a_500(
    gateway: Gateway, method: str, path: list[str], key: Any, body: bytes
) -> None:
    """And whoever has no key changes nothing."""
    key = key if key is None or (key.isascii() and key.isprintable()) else None
    before = gateway.bill()["creates"]

    answer = gateway.send(method, "/" + "/".join(path).lstrip("/"), key=key, content=body)  # "//" would name a host

    assert answer.status_code < 500, answer.text
    if key != "local":
        assert gateway.bill()["creates"] == before


@SETTINGS
@given(BODIES)
def test_a_create_makes_one_batch_or_says_why_not(gateway: Gateway, body: bytes) -> None:
    before = gateway.bill()["creates"]

    answer = gateway.send("POST", "/v1/batches", content=body)

    made = gateway.bill()["creates"] - before
    assert (answer.status_code == 200) == bool(made)
    assert made in (0, 1)
    if made == 0:
        assert 400 <= answer.status_code < 500
        assert answer.json()["error"]["message"]


@SETTINGS
@given(JSON | st.binary(max_size=30))
def test_a_fault_plan_of_any_shape_is_taken_or_refused(gateway: Gateway, plan: Any) -> None:
    content = plan if isinstance(plan, bytes) else json.dumps(plan).encode()

    answer = gateway.send("PUT", "/admin/faults", content=content)

    assert answer.status_code in (200, 400)
    gateway.set_faults({})


def test_a_gateway_that_was_fuzzed_still_answers(gateway: Gateway, tmp_path: Path) -> None:
    """Its bill can be read, and a sound job goes through it."""
    assert tmp_path.exists()
    lines = gateway.run([a_row("sound", "What is it?")])

    assert json.loads(lines)["custom_id"] == "sound"
