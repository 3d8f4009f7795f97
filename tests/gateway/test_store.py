"""The state folder: a bill is written once, and files without a batch are deleted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.gateway.store import DELIVERED, Settlement
from tests.gateway.in_process import a_gateway, some_rows


def test_a_bill_is_written_once_whoever_brings_another(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(2))
        gateway.end()
        first = gateway.bill()
        store = gateway.app.state.service.store
        batch = store.batch(batch_id)
        other = Settlement(
            completed=9,
            failed=9,
            input_tokens=9,
            output_tokens=9,
            fees_micro_usd=9,
            has_results=True,
            items=[(7, "row-7", 7, DELIVERED)],
        )
        store.settle(batch, other)

        assert store.batch(batch_id) == replace(batch, is_settled=True)
        assert gateway.bill() == first


def test_results_made_before_a_cancel_are_not_the_results_of_the_cancelled_batch(tmp_path: Path) -> None:
    """A settlement that was under way when a cancel arrived is discarded and made again."""
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(2))
        store = gateway.app.state.service.store
        before = store.batch(batch_id)
        store.cancel(batch_id, cancelled_at=before.submitted_at, ends_at=before.ends_at, done_share=0.0)
        whole = Settlement(
            completed=2,
            failed=0,
            input_tokens=9,
            output_tokens=9,
            fees_micro_usd=9,
            has_results=True,
            items=[(0, "row-0", 7, DELIVERED)],
        )
        store.settle(before, whole)
        gateway.end()

        assert gateway.bill()["answers"] == 0
        assert gateway.status(batch_id)["status"] == "CANCELLED"


def test_files_of_creates_that_never_happened_are_swept_away_at_the_start(tmp_path: Path) -> None:
    """A kill can leave a body received in part, a body that was not recorded, and part of a result file."""
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(2))
    for name in ("requests/half.arriving", "requests/batch_unknown.json", f"results/{batch_id}.partial"):
        (tmp_path / name).write_bytes(b"half")
    with a_gateway(tmp_path) as gateway:
        gateway.end()
        assert gateway.bill()["answers"] == 2

    assert [path.name for path in (tmp_path / "requests").iterdir()] == [f"{batch_id}.json"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == [f"{batch_id}.jsonl"]
