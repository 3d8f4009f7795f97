"""What another version has written can be read: one field more, one field less, and a damaged text is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest

from orchestrator import codec
from orchestrator.domain.errors import StorageError
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome, Tally
from orchestrator.domain.policy import NullPolicy, OnAmbiguous, Policy
from orchestrator.engine.spec import Spec, from_json
from orchestrator.job_files import create_journal, records
from orchestrator.ledger.db import rows
from tests.builders import NOW
from tests.fakes.job_files import MemoryJobFiles
from tests.test_spec import a_spec

POLICY: Final = Policy(
    on_ambiguous=OnAmbiguous.RESUBMIT,
    null_policy=NullPolicy.SKIP,
    budget_usd=Decimal("12.50"),
    max_duplicate_usd=Decimal("0.1"),
    poll_s_min=1.5,
)
PLANNED: Final = records.PlannedChunk(
    name="c00000-00000",
    shard_no=0,
    row_end=2,
    request_count=2,
    request_bytes=80,
    requests="requests/c00000-00000.0123456789ab.jsonl.zst",
    cost_usd_max=Decimal("0.000741000"),
    rows_by_shard={0: 2},
)
TOKEN: Final = AttemptToken("0" * 32)
RECORDS: Final[dict[str, Any]] = {
    "a policy": POLICY,
    "a planned chunk": PLANNED,
    "a slice": records.SlicePlan(
        shard_no=0,
        slice_no=0,
        row_start=0,
        row_end=2,
        refused_count=0,
        last=True,
        chunks=(PLANNED, PLANNED),
        digests={"t": "string 0"},
    ),
    "retry chunks": records.RetryPlan(
        chunks=(replace(PLANNED, name="r00001", shard_no=None, rows_by_shard={0: 1, 12: 1}),),
        sources={"c00000-00000": 2},
    ),
    "a split": records.SplitPlan(chunk="c00000-00000", chunks=(PLANNED,)),
    "a chunk given up": records.GivenUp(chunk="c00000-00000", attempt=1, error_code="400", error="malformed"),
    "what a batch gave": records.Collected(
        chunk="c00000-00000",
        attempt=1,
        token=TOKEN,
        batch_id=BatchId("batch-1"),
        outcome=Outcome.EXPIRED,
        cost_usd=Decimal("0.5"),
        part="parts/c00000-00000.a1.parquet",
        part_digest="ab",
        raw={"raw/c00000-00000.a1.output.jsonl.zst": "cd"},
        tally=Tally(succeeded=1, failed=1),
        settled={0: 2},
        failed={0: 1},
    ),
    "a command": records.Command(spec="{}", policy="{}", rounds_max=3, revision=1, shard_count=2),
    "an intent": create_journal.Intent(
        token=TOKEN,
        chunk="c00000-00000",
        attempt=1,
        requests=PLANNED.requests,
        sent_at=datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC),
        reserved_usd=Decimal("0.000741000"),
        file_id=FileId("file-1"),
        key_mark="abcd",
    ),
    "a create that was answered": create_journal.Created(token=TOKEN, batch_id=BatchId("batch-1")),
}


@pytest.mark.parametrize("what", RECORDS)
def test_what_is_written_is_read_again_as_it_was(what: str) -> None:
    value = RECORDS[what]

    assert codec.decode(codec.encode(value), type(value), name="it") == value


@pytest.mark.parametrize("what", RECORDS)
def test_a_field_that_a_later_version_added_is_ignored_however_deep_it_stands(what: str) -> None:
    value = RECORDS[what]
    text = json.dumps(_with_more(json.loads(codec.encode(value))))

    assert codec.decode(text, type(value), name="it") == value


def _with_more(found: Any) -> Any:
    """Return JSON with a field more in each object of ours; maps by shard, file or chunk have no fields."""
    if isinstance(found, list):
        return [_with_more(item) for item in found]
    maps = ("rows_by_shard", "sources", "raw", "settled", "failed", "digests")
    if isinstance(found, dict):
        known = {name: item if name in maps else _with_more(item) for name, item in found.items()}
        return {**known, "of_a_later_version": {"colour": ["grey"]}}
    return found


def test_a_job_whose_spec_has_more_fields_than_are_known_is_read_and_is_the_same_job() -> None:
    """`job.json` of a later version once was a TypeError."""
    spec = a_spec()
    kept = json.loads(spec.to_json())
    kept |= {"response_schema": {"type": "object"}}
    kept["provider"] |= {"region": "eu"}
    kept["output_options"] |= {"embedding": True}
    kept["provider"]["prices"]["m"] |= {"cached_input_usd": "0.01"}

    found = from_json(json.dumps(kept))

    assert found == spec
    assert found.job_id == spec.job_id


def test_a_field_that_an_earlier_version_did_not_write_has_its_default() -> None:
    kept = json.loads(a_spec().to_json())
    for name in ("output", "output_options", "render"):
        del kept[name]
    del kept["provider"]["list_lag_s"]

    assert from_json(json.dumps(kept)) == a_spec()
    assert rows.policy_of("{}") == Policy()


def test_what_is_not_set_is_left_out_of_a_policy() -> None:
    assert "budget_usd" not in json.loads(rows.policy_text(Policy()))
    assert json.loads(rows.policy_text(POLICY))["budget_usd"] == "12.50"


def test_equal_values_give_equal_bytes_whatever_the_order_of_their_maps() -> None:
    one, other = replace(PLANNED, rows_by_shard={0: 1, 3: 1}), replace(PLANNED, rows_by_shard={3: 1, 0: 1})

    assert codec.encode(one) == codec.encode(other)


def test_a_body_of_any_json_comes_back_as_the_digest_spells_it() -> None:
    """TOML knows times and Python knows decimals; both are texts in a request, in the digest and in job.json."""
    body = {"at": NOW, "amount": Decimal("1.50"), "big": 2**70, "nested": {"b": [1, None, True], "a": "naïve"}}
    spec = a_spec(body=body)

    found = from_json(spec.to_json())

    assert found.digest == spec.digest
    assert found.body == {**body, "at": str(NOW), "amount": "1.50"}


DAMAGED: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "a field of another type": lambda kept: kept | {"shard_rows": "many SECRET"},
    "an unknown word": lambda kept: kept | {"output_options": "SECRET"},
    "a field that has no default is missing": lambda kept: {key: kept[key] for key in kept if key != "fingerprint"},
    "no object": lambda _kept: ["SECRET"],
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_spec_is_an_error_that_names_the_file_and_shows_no_value(how: str) -> None:
    with pytest.raises(StorageError, match=r"job\.json is damaged") as caught:
        from_json(json.dumps(DAMAGED[how](json.loads(a_spec().to_json()))))

    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"name": "\xff"}', b"[" * 100_000])
def test_what_is_not_json_is_an_error_that_names_the_file(text: bytes) -> None:
    with pytest.raises(StorageError, match=r"job\.json is damaged"):
        codec.decode(text, Spec, name="job.json")


def test_an_unknown_word_of_an_enum_is_not_quoted() -> None:
    text = codec.encode(RECORDS["what a batch gave"]).replace(b'"expired"', b'"SECRET"')

    with pytest.raises(StorageError, match=r"it is damaged: Invalid enum value at `\$\.outcome`"):
        codec.decode(text, records.Collected, name="it")


def test_fields_of_another_version_are_kept_when_a_spec_is_written_again() -> None:
    known = json.dumps(json.loads(a_spec().to_json()) | {"response_schema": {"type": "object"}, "output": "/old"})

    kept = json.loads(codec.keep_unknown(known, a_spec(output="/new").to_json()))

    assert kept["response_schema"] == {"type": "object"}
    assert kept["output"] == "/new"


def test_a_record_in_a_folder_is_read_by_its_name_and_a_damaged_one_is_named() -> None:
    job_files = MemoryJobFiles()
    intent = RECORDS["an intent"]
    create_journal.write_intent(job_files, intent)
    name = create_journal.intent_name(intent.token)
    with job_files.create("intents/damaged.json") as file:
        file.write(b"{}")

    assert create_journal.read_intent(job_files, name) == intent
    with pytest.raises(StorageError, match=r"intents/damaged\.json is damaged: .*`token`"):
        create_journal.read_intent(job_files, "intents/damaged.json")
