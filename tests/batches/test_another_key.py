"""The key in use is not that of the create: what it does not know proves nothing, and what it knows is so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from orchestrator.batches.cancel import cancel
from orchestrator.batches.poll import poll
from orchestrator.batches.recover import recover
from orchestrator.domain.batch import Listed, Traits
from orchestrator.domain.errors import Gone, ProviderError, Unavailable
from orchestrator.domain.model import Chunk, ChunkState, Step
from orchestrator.domain.recovery import OTHER_KEY, Recovery
from orchestrator.job_files.create_journal import write_journal
from tests.batches.stage import BATCH, FILE, TOKEN, Stage
from tests.builders import ACCOUNT, NOW, after

OWN: Final = "mark of its own key"
OTHER: Final = "mark of the key in use"
B1: Final = Traits(name="b1", recovery=Recovery.FENCED, settle_s=100.0, lag_s=60.0, key_mark=OTHER)
B2: Final = Traits(name="b2", recovery=Recovery.SETTLED, settle_s=100.0, lag_s=60.0, late_s=600.0, key_mark=OTHER)
LISTED: Final = [Listed(batch_id=BATCH, created_at=after(3))]
VARIABLE: Final = ACCOUNT.rpartition("/")[2]
PUT_BACK: Final = (
    f"with another API key than {VARIABLE} holds now, and the account of the present key does not know it: "
    f"set {VARIABLE} to the earlier key, and the job continues automatically"
)
HOUR_S: Final = 3_600


def chunk_of_another_key(state: str, traits: Traits = B1, *, at_s: float = 200, **fields: Any) -> tuple[Stage, Chunk]:
    stage = Stage(traits)
    held = {"error_code": OTHER_KEY} if state == "unresolved" else {}
    file_id = FILE if traits.recovery is Recovery.FENCED else None
    chunk = stage.put(state, file_id=file_id, **({"key_mark": OWN} | held | fields))
    stage.after(at_s)
    return stage, chunk


def look(stage: Stage, before: Chunk) -> Chunk:
    harness = stage.harness
    recover(
        stage.claim(before),
        ledger=harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        clock=stage.clock,
    )
    return stage.chunk(before)


def ask(stage: Stage, before: Chunk, answer: ProviderError) -> Chunk:
    stage.provider.tell(answer)
    poll(
        stage.claim(before),
        ledger=stage.harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        clock=stage.clock,
    )
    return stage.chunk(before)


def with_its_own_key(traits: Traits) -> Traits:
    return replace(traits, key_mark=OWN)


@pytest.mark.parametrize("traits", [B1, B2], ids=lambda traits: traits.name)
def test_a_create_that_another_key_does_not_find_is_unresolved_and_nothing_is_deleted(traits: Traits) -> None:
    """In another account's list there is nothing of ours, and there is no file of ours to delete there."""
    stage, before = chunk_of_another_key("ambiguous", traits, at_s=5_000)

    chunk = look(stage, before)

    assert (chunk.state, chunk.error_code, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, OTHER_KEY, 5_060)
    assert chunk.error == f"the create whose answer was lost was sent {PUT_BACK}"
    assert [(name, rest[-1]) for name, *rest in stage.provider.calls] == [("find", "other key")]


def test_a_batch_that_another_key_finds_is_ours() -> None:
    stage, before = chunk_of_another_key("ambiguous")
    stage.provider.tell(LISTED)

    chunk = look(stage, before)

    assert (chunk.state, chunk.batch_id) == (ChunkState.SUBMITTED, BATCH)


def test_a_key_that_knows_the_input_file_is_of_the_same_account_and_its_word_counts() -> None:
    """It lists none, and has seen the file: the usual proof goes on, with the fence."""
    stage, before = chunk_of_another_key("ambiguous")
    stage.provider.tell([])

    chunk = look(stage, before)

    assert (chunk.state, chunk.fenced_at) == (ChunkState.AMBIGUOUS, after(200))
    assert stage.provider.calls[1:] == [("delete", FILE)]


@pytest.mark.parametrize(("sent_with", "present"), [("", OTHER), (OWN, ""), (OWN, OWN)])
def test_a_mark_that_is_not_known_tells_nothing(sent_with: str, present: str) -> None:
    """A create of an older version, or a provider without a mark: asked and believed as before."""
    stage, before = chunk_of_another_key("ambiguous", replace(B1, key_mark=present), key_mark=sent_with)

    chunk = look(stage, before)

    assert chunk.fenced_at == after(200)
    assert stage.provider.calls[0] == ("find", TOKEN, NOW.replace(day=21, hour=10), FILE)


def test_a_chunk_that_waits_for_a_key_waits_while_the_other_one_sees_nothing() -> None:
    stage, before = chunk_of_another_key("unresolved")

    chunk = look(stage, before)

    assert (replace(chunk, version=0), stage.due_s(chunk)) == (replace(before, version=0), 300)
    assert [name for name, *_ in stage.provider.calls] == ["find"]


def test_a_chunk_that_waits_for_a_key_is_ambiguous_again_when_the_key_is_back() -> None:
    """Nobody need be asked for that."""
    stage, before = chunk_of_another_key("unresolved", with_its_own_key(B1))

    chunk = look(stage, before)

    assert (chunk.state, chunk.error, chunk.error_code, stage.due_s(chunk)) == (ChunkState.AMBIGUOUS, "", "", 200)
    assert stage.provider.calls == []


def test_a_chunk_that_waits_for_a_key_goes_on_under_a_rotated_one_that_sees_its_file() -> None:
    stage, before = chunk_of_another_key("unresolved")
    stage.provider.tell([])

    assert look(stage, before).state is ChunkState.AMBIGUOUS


def test_a_chunk_that_waits_for_a_key_goes_on_under_a_rotated_one_that_sees_its_batch() -> None:
    stage, before = chunk_of_another_key("unresolved")
    stage.provider.tell(LISTED)

    assert look(stage, before).state is ChunkState.SUBMITTED


def test_a_chunk_that_is_unresolved_for_another_reason_waits_for_a_person() -> None:
    stage, before = chunk_of_another_key("unresolved", error_code="")

    chunk = look(stage, before)

    assert (chunk.state, stage.provider.calls) == (ChunkState.UNRESOLVED, [])


@pytest.mark.parametrize("seen", [None, []])
def test_a_known_batch_that_is_unresolved_for_its_key_waits_for_it(seen: list[Listed] | None) -> None:
    """The journal has its name; asked under a key that does not see it, it would only be held again."""
    stage, before = chunk_of_another_key("unresolved")
    write_journal(stage.job_files, TOKEN, BATCH)
    stage.provider.tell(seen)

    chunk = look(stage, before)

    assert (chunk.state, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, 300)


def test_a_known_batch_that_is_unresolved_for_its_key_goes_on_when_the_key_is_back() -> None:
    stage, before = chunk_of_another_key("unresolved", with_its_own_key(B1))
    write_journal(stage.job_files, TOKEN, BATCH)

    chunk = look(stage, before)

    assert (chunk.state, chunk.batch_id) == (ChunkState.SUBMITTED, BATCH)


def test_a_batch_that_another_key_does_not_know_is_unresolved_and_looked_at_again_in_a_minute() -> None:
    stage, before = chunk_of_another_key("submitted", at_s=HOUR_S + 1)

    chunk = ask(stage, before, Gone("no such batch", status=404))

    assert (chunk.state, chunk.error_code, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, OTHER_KEY, HOUR_S + 61)
    assert chunk.error == f"batch {BATCH} was made {PUT_BACK}"


@pytest.mark.parametrize(("traits", "due_s"), [(B1, HOUR_S + 61), (with_its_own_key(B1), None)])
def test_only_another_keys_unknown_batch_comes_back_by_itself(traits: Traits, due_s: float | None) -> None:
    stage, before = chunk_of_another_key("submitted", traits, at_s=HOUR_S + 1)

    chunk = ask(stage, before, Gone("no such batch", status=404))

    assert (chunk.state, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, due_s)


@pytest.mark.parametrize(
    ("error", "at_s"), [(Gone("no such batch", status=404), HOUR_S), (Unavailable("away"), HOUR_S + 1)]
)
def test_a_young_batch_or_one_that_cannot_be_asked_about_is_asked_about_again(error: ProviderError, at_s: int) -> None:
    stage, before = chunk_of_another_key("submitted", at_s=at_s)

    assert ask(stage, before, error).state is ChunkState.SUBMITTED


@pytest.mark.parametrize(("traits", "is_sent"), [(B1, False), (with_its_own_key(B1), True)])
def test_a_cancel_that_only_another_account_has_never_heard_of_waits_for_the_key(traits: Traits, is_sent: bool) -> None:
    stage, before = chunk_of_another_key("submitted", traits, cancel_requested=True)
    stage.provider.tell(Gone("no such batch", status=404))

    cancel(stage.claim(before, Step.CANCEL), ledger=stage.harness.ledger, provider=stage.provider, clock=stage.clock)

    chunk = stage.chunk(before)
    assert (chunk.state, chunk.cancel_sent) == (ChunkState.SUBMITTED, is_sent)
    assert stage.due_s(chunk) == (200 if is_sent else 216.5)
    assert (PUT_BACK in chunk.error) is not is_sent
