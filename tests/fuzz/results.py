"""One mutated result file, read by the collector's parser, and judged by a reader of its own that believes nothing."""

from __future__ import annotations

import json
import random
import re
from io import BytesIO
from typing import Any, Final

from orchestrator.collector.parse import Quarantined, read_answers
from orchestrator.domain import custom_id
from orchestrator.domain.model import Outcome, Tally
from orchestrator.domain.reconcile import UNREADABLE, Answer, Reconciliation, unanswered
from orchestrator.job_files.result_parts import write_part
from orchestrator.providers.onerouter.dialect import READER
from tests.fuzz.mutations import cut, mutated

DIGEST: Final = "9f86d081"
ROW_COUNT: Final = 6
PART_EVERY: Final = 64  # a part is written of one file in so many: that is what costs most
NAMES: Final = tuple(custom_id.custom_id(DIGEST, 0, row) for row in range(ROW_COUNT))
ABSENT: Final = unanswered(Outcome.COMPLETED)
BOM: Final = b"\xef\xbb\xbf"
SURROGATE: Final = re.compile("[\ud800-\udfff]")


def fuzz(seed: int) -> None:
    """Check one file; the seed is the file."""
    chance = random.Random(seed)
    stream = mutated(chance)
    try:
        check(stream, cut(stream, chance), writes_part=seed % PART_EVERY == 1, keep_raw=seed % 2 == 0)
    except BaseException as error:
        error.add_note(f"replay: python -m tests.fuzz --seed {seed} --files 1")
        raise


def check(stream: bytes, blocks: list[bytes], *, writes_part: bool = False, keep_raw: bool = True) -> Tally:
    """Read a file, and see that every line of it is placed, counted or set aside, and no answer is another row's."""
    reconciliation = Reconciliation([(0, row) for row in range(ROW_COUNT)], DIGEST)
    aside = list(read_answers(blocks, reconciliation, READER, keep_raw=keep_raw))
    tally, rows = reconciliation.close(ABSENT, may_send_again=True)
    answers = list(rows)

    lines = [line.removesuffix(b"\r") for line in stream.removeprefix(BOM).split(b"\n")]
    spoken = [line for line in lines if line and not line.isspace()]
    kept = ROW_COUNT - tally.missing
    assert tally.lines == kept + tally.duplicates + tally.foreign + tally.unreadable
    if not (spoken and _pairs(spoken[0]) is None and tally.lines != len(spoken)):  # else it is read as a document
        assert tally.lines == len(spoken)
    unused = [one for one in aside if one.reason != "unknown shape"]
    assert kept <= tally.lines - len(unused) <= kept + tally.duplicates, "accepted + quarantined + blank = lines"
    _set_aside_as_they_were(stream, aside)
    _each_row(spoken, [answer for _key, answer in answers])
    if writes_part:
        write_part(BytesIO(), iter(answers), batch_id="b", round=1, fees_usd=None, price=None)
    return tally


def _set_aside_as_they_were(stream: bytes, aside: list[Quarantined]) -> None:
    for one in aside:
        found = stream[one.offset :].removeprefix(BOM) if one.offset == 0 else stream[one.offset :]
        assert found.startswith(one.line), "what is set aside is not what stood there"


def _each_row(spoken: list[bytes], answers: list[Answer]) -> None:
    named: dict[str, list[Any]] = {}
    for line in spoken:
        pairs = _pairs(line)
        for name in _names(pairs):
            named.setdefault(name, []).append(pairs)
    for name, answer in zip(NAMES, answers, strict=True):
        lines = named.get(name, [])
        if answer is not ABSENT and answer.error_code != UNREADABLE:
            assert lines, f"row {name} has an answer, and no line names it"
        if answer.text:
            assert any(_says(pairs, answer.text) for pairs in lines), f"row {name} has the text of another"


def _names(pairs: Any) -> list[str]:
    """Return what may be the names in a line, in our own spelling; none where it is no JSON object."""
    if not isinstance(pairs, _Object):
        return []
    places = [pairs, *(value for _key, value in pairs if isinstance(value, _Object))]
    return [value.strip().casefold() for place in places for _key, value in place if isinstance(value, str)]


class _Object(list[Any]):
    """A JSON object as pairs, so that no key hides another of the same name."""


_READER: Final = json.JSONDecoder(object_pairs_hook=_Object, parse_int=lambda _digits: 0)


def _pairs(line: bytes) -> Any:
    try:
        return _READER.decode(line.decode())
    except (ValueError, RecursionError):
        return None


def _says(pairs: Any, text: str) -> bool:
    """Whether a text is one of a line's strings, or several of them in their order."""
    rests = {text}  # what is still to be said: a string may be part of it, or have been mutated into its beginning
    for string in _strings(pairs):
        rests |= {rest[len(string) :] for rest in rests if string and rest.startswith(string)}
    return "" in rests


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [SURROGATE.sub("\ufffd", value)]
    if isinstance(value, _Object):
        return [string for _key, inner in value for string in _strings(inner)]
    return [string for inner in value for string in _strings(inner)] if isinstance(value, list) else []
