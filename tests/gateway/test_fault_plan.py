"""The fault plan as a file: its guide is complete, mistakes are refused, choices depend on the seed alone."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator.gateway.faults
from orchestrator.gateway.faults import (
    CreateFaults,
    Fault,
    FaultPlan,
    FaultPlanError,
    decode_plan,
    draw,
    encode_plan,
    next_fault,
    read_plan,
)
from tests.gateway.in_process import a_gateway


def test_the_guide_in_the_docstring_is_a_plan_and_names_every_key(tmp_path: Path) -> None:
    """Every key of the plan is in the guide at the head of faults.py, and no other."""
    guide = orchestrator.gateway.faults.__doc__ or ""
    example = textwrap.dedent(guide[guide.index("    seed = 7") : guide.index("Where several faults")])
    (tmp_path / "faults.toml").write_text(example, encoding="utf-8")
    plan = read_plan(tmp_path / "faults.toml")

    assert plan.create.refuse == {429: 2, 503: 1}
    assert plan.download.refuse_key
    for table in ("create", "status", "batch", "rows", "lines", "download"):
        for field in msgspec.structs.fields(getattr(plan, table)):
            assert re.search(rf"\b{field.name}\b", example), f"{table}.{field.name}"


def test_an_empty_plan_is_the_plan_that_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("", encoding="utf-8")

    assert read_plan(tmp_path / "empty.toml") == FaultPlan() == decode_plan("{}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[creates]\nlost = 1\n", "creates"),
        (b"[create]\nlots = 1\n", "lots"),
        (b"[create]\nlost = 'often'\n", "create.lost"),
        (b"[create]\nlost = 2.0\n", "create.lost"),
        (b"[create]\nlost = nan\n", "create.lost"),
        (b"[create\n", "line 1"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_file_and_place(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_bytes(content)

    with pytest.raises(FaultPlanError) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_mistake_too(tmp_path: Path) -> None:
    with pytest.raises(FaultPlanError, match="cannot be read"):
        read_plan(tmp_path / "none.toml")


def test_a_plan_survives_its_encoding() -> None:
    plan = FaultPlan(seed=3, create=CreateFaults(refuse={429: 2, 503: 1.0}, lost=0.25, retry_after_s=1.5))

    assert decode_plan(encode_plan(plan)) == plan


@given(st.integers(), st.text())
def test_a_draw_is_a_share_and_always_the_same(seed: int, key: str) -> None:
    assert 0.0 <= draw(seed, key) < 1.0
    assert draw(seed, key) == draw(seed, key)


def test_counted_faults_do_not_overlap() -> None:
    table = CreateFaults(refuse={429: 1, 503: 2}, lost=1)
    struck = [next_fault(table, ("refuse", "lost"), 0, index=index, key="") for index in range(5)]

    assert struck == [Fault("refuse", 429), Fault("refuse", 503), Fault("refuse", 503), Fault("lost"), None]


def test_a_plan_set_at_run_time_outlives_a_restart_with_its_counts(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        gateway.set_faults({"create": {"refuse": {"429": 2}}})
        assert gateway.send("POST", "/v1/batches", json={"requests": [_row()]}).status_code == 429
    with a_gateway(tmp_path) as gateway:
        statuses = [gateway.send("POST", "/v1/batches", json={"requests": [_row()]}).status_code for _ in range(2)]

    assert statuses == [429, 200]


def test_a_plan_given_at_the_start_replaces_the_stored_one_unless_it_is_the_same(tmp_path: Path) -> None:
    plan = {"create": {"refuse": {"503": 1}}}
    statuses = []
    for faults in (plan, plan, {"create": {"refuse": {"429": 1}}}, {}):
        with a_gateway(tmp_path, faults) as gateway:
            statuses.append(gateway.send("POST", "/v1/batches", json={"requests": [_row()]}).status_code)

    assert statuses == [503, 200, 429, 200]


def _row() -> dict[str, object]:
    return {"custom_id": "row-0", "params": {"model": "m"}}
