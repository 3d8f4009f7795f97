"""The bill: each billable answer once, requests paid twice, and which of those the fault plan excuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.gateway.result_file import LINE_FAULTS
from tests.gateway.in_process import a_gateway, a_row, some_rows

ALL = 1.0


def test_a_new_server_has_an_empty_bill(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        assert gateway.bill() == {
            "creates": 0,
            "batches": 0,
            "answers": 0,
            "fees_usd": "0.000000000",
            "paid_twice": 0,
            "excused": 0,
            "same_body": 0,
            "same_custom_id": 0,
            "examples": [],
        }


def test_a_batch_is_billed_when_it_ends_though_nobody_polls_it(tmp_path: Path) -> None:
    """Three rows of 8 tokens in and 7 out: 24 x 0.075 + 21 x 0.30 = 8.1 millionths, cut to 8."""
    with a_gateway(tmp_path) as gateway:
        gateway.create([a_row(f"row-{number}") for number in range(3)])
        before = gateway.bill()
        gateway.end()
        after = gateway.bill()
        assert gateway.bill() == after

    assert (before["creates"], before["answers"], before["fees_usd"]) == (1, 0, "0.000000000")
    assert (after["creates"], after["answers"], after["fees_usd"]) == (1, 3, "0.000008000")
    assert (after["paid_twice"], after["same_body"]) == (0, 1)


def test_the_same_row_answered_in_two_batches_is_paid_twice_and_named(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_ids = [gateway.create(some_rows(2)), gateway.create(some_rows(1)), gateway.create(some_rows(1))]
        gateway.end()
        bill = gateway.bill()

    assert (bill["answers"], bill["paid_twice"], bill["excused"]) == (4, 1, 0)
    assert bill["examples"] == [{"custom_id": "row-0", "batch_ids": batch_ids}]


def test_the_examples_are_twenty_at_most(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        gateway.run(some_rows(30))
        gateway.run(some_rows(30))
        bill = gateway.bill()

    assert (bill["paid_twice"], len(bill["examples"])) == (30, 20)


def test_one_custom_id_with_two_bodies_is_not_paid_twice_but_shown(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        gateway.run([a_row(temperature=0)])
        gateway.run([a_row(temperature=1)])
        bill = gateway.bill()

    assert (bill["paid_twice"], bill["same_custom_id"], bill["same_body"]) == (0, 1, 0)


def test_a_row_that_failed_before_is_not_paid_twice(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"fail": {"500": ALL}}}) as gateway:
        gateway.run([a_row()])
        gateway.run([a_row()])
        bill = gateway.bill()

    assert (bill["answers"], bill["paid_twice"]) == (1, 0)


@pytest.mark.parametrize("fault", LINE_FAULTS)
def test_paying_again_is_excused_where_the_line_could_not_be_read(tmp_path: Path, fault: str) -> None:
    """A careful reader copes with duplicates, code fences, blank lines and line separators: they excuse nothing."""
    is_bearable = fault in {"duplicate", "duplicate_differing", "fenced", "line_separator", "blank_line"}
    with a_gateway(tmp_path, {"lines": {fault: ALL}}) as gateway:
        gateway.run([a_row()])
        gateway.run([a_row()])
        bill = gateway.bill()

    assert (bill["answers"], bill["paid_twice"], bill["excused"]) == (2, 1, 0 if is_bearable else 1)


@pytest.mark.parametrize("fault", ["cut_last", "cut_in_character"])
def test_only_the_row_that_was_cut_off_is_excused(tmp_path: Path, fault: str) -> None:
    with a_gateway(tmp_path, {"lines": {fault: 1, "in_order": 1}}) as gateway:
        gateway.run(some_rows(3))
        gateway.run(some_rows(3))
        bill = gateway.bill()

    assert (bill["paid_twice"], bill["excused"]) == (3, 1)
    assert [example["custom_id"] for example in bill["examples"]] == ["row-0", "row-1", "row-2"]


def test_a_third_payment_is_not_excused_by_a_damaged_first(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"lines": {"missing": ALL}}) as gateway:
        for _ in range(3):
            gateway.run([a_row()])
        bill = gateway.bill()

    assert (bill["answers"], bill["paid_twice"], bill["excused"]) == (3, 1, 0)


@pytest.mark.parametrize(
    "faults",
    [
        {"status": {"empty_result_url": ALL}},
        {"download": {"refuse": {"403": ALL}}},
        {"download": {"cut_unannounced": ALL}},
    ],
)
def test_results_never_handed_out_whole_excuse_their_whole_batch(tmp_path: Path, faults: dict[str, Any]) -> None:
    with a_gateway(tmp_path, faults) as gateway:
        batch_id = gateway.create(some_rows(3))
        gateway.end()
        url = gateway.status(batch_id)["result_url"]
        if url:
            gateway.send("GET", url, key=None)
        gateway.set_faults({})
        gateway.run(some_rows(3))
        without_them = gateway.bill()
        gateway.results(batch_id)
        with_them = gateway.bill()

    assert (without_them["paid_twice"], without_them["excused"]) == (3, 3)
    assert (with_them["paid_twice"], with_them["excused"]) == (3, 0)


def test_not_asking_for_the_results_is_no_excuse(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        gateway.create([a_row()])
        gateway.run([a_row()])
        bill = gateway.bill()

    assert (bill["paid_twice"], bill["excused"]) == (1, 0)


def test_a_lost_answer_to_a_create_is_no_excuse(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"accept_then": {"500": 1}}}) as gateway:
        gateway.send("POST", "/v1/batches", json={"requests": [a_row()]})
        gateway.run([a_row()])
        bill = gateway.bill()

    assert (bill["paid_twice"], bill["excused"]) == (1, 0)
