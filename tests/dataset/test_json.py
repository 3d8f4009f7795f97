"""JSON files: lines or an array of objects, told by the first character, streamed; misfits are told by place."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset import json_texts, jsonl
from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain.errors import DatasetError
from tests.tiers import examples


def rows(place: Path) -> list[dict[str, Any]]:
    source = open_dataset(place, shard_rows=10**6, shard_bytes=10**9)
    return [row for shard in source.shards for batch in source.batches(shard) for row in batch.to_pylist()]


def a_file(folder: Path, content: str | bytes, name: str = "x.json") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", []),
        ("\ufeff \n[ ]\n", []),
        ('[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        ('{"a":1}\n\n{"a":2}\n', [{"a": 1}, {"a": 2}]),
        ('{"a":1}', [{"a": 1}]),
        (
            '[\r\n  {\r\n    "a": "x\\ny",\r\n    "b": {"c": [1, 2]}\r\n  }\r\n]\r\n',
            [{"a": "x\ny", "b": {"c": [1, 2]}}],
        ),
        ('[{"a":"]} , é\u2028"},{"b":1}]', [{"a": "]} , é\u2028", "b": None}, {"a": None, "b": 1}]),
        ('[{"a":1},\n{"a":NaN}]', "nan"),
    ],
)
def test_an_array_and_lines_are_both_read(content: str, expected: Any, tmp_path: Path) -> None:
    found = rows(a_file(tmp_path, content))

    assert str(found[1]["a"]) == expected if expected == "nan" else found == expected


@pytest.mark.parametrize("name", ["x.json.gz", "x.jsonl", "x.ndjson"])
def test_an_array_is_known_by_its_first_character_whatever_the_name(name: str, tmp_path: Path) -> None:
    content = b'[{"a":1},\n{"a":2}]'

    assert rows(a_file(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)) == [
        {"a": 1},
        {"a": 2},
    ]


@given(st.lists(st.fixed_dictionaries({"v": st.text(max_size=9), "n": st.integers(0, 9)}), max_size=9), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_elements_are_whole_wherever_a_block_ends(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Blocks of a few bytes cut strings, escapes and characters."""
    indent = data.draw(st.none() | st.integers(0, 2))
    text = json.dumps(found, indent=indent, ensure_ascii=data.draw(st.booleans()))
    place = a_file(tmp_path_factory.mktemp("json"), text.encode(errors="surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_texts, "READ_BYTES", data.draw(st.integers(1, 7)))

        assert [row["v"] for row in rows(place)] == [row["v"] for row in found]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            '[\n{"a":{"b":1}},\n{"a":{"b":"x"}}]',
            "element 2 (line 3): field 'a.b' is a JSON string that does not fit its column, int64, which is a JSON",
        ),
        ('{"a":null}\n{"a":"x"}\n{"a":1}', "line 3: field 'a' is a JSON integer that does not fit its column, string"),
        ('[\n{"a":{"b":1}},\n{"a":{"b":"x"}}]', ", which is a JSON integer in element 1 (line 2);"),
        ('{"a":null}\n{"a":"x"}\n{"a":1}', "which is a JSON string in line 2"),
        (
            '{"a":[1]}\n{"a":[2.5]}\n{"a":["x"]}',
            "a JSON array of strings that does not fit its column, list<item: double>",
        ),
        ('[{"a":1},\n{"a":1e400}]', "element 2 (line 2): a number beyond 1e308 is no number in JSON"),
        ('[{"a":"x"},\n{"a":NaN}]', "element 2 (line 2): NaN is no number in JSON"),
        ('[{"a":"x"},\n{"a":-Infinity}]', "element 2 (line 2): -Infinity is no number in JSON"),
        ('[{"a":1}', "the file ends within its array, after element 1"),
        ('[{"a":1}\n{"a":2}]', "line 2: neither a comma nor the array's end, after element 1"),
        ('[{"a":1},]', "element 2 (line 1): not valid JSON"),
        ('[{"a":1},{"a"', "element 2 (line 1): not valid JSON, cut short"),
        ('[{"a":1}]\n{"a":2}', "line 2: more stands after the end of its array"),
        ("[1]", "element 1 (line 1): a JSON integer, not an object"),
        (b'[{"a":"\xff"}]', "element 1 (line 1): not valid JSON (cut short, more than one value, or not UTF-8)"),
        ('{\n"data": [1]}', "line 1: an object over several lines: the file must be an array of objects"),
        ('[{"id":9007199254740993},{"id":0.5}]', "element 1 (line 1): field 'id' is an integer of so many digits"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place_and_the_other_place(
    content: str | bytes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as raised:
        rows(a_file(tmp_path, content))

    assert words in str(raised.value)
    assert "x.json" in str(raised.value)


def test_the_other_place_may_be_in_another_file(tmp_path: Path) -> None:
    a_file(tmp_path, '{"a":1}', "1.jsonl")
    a_file(tmp_path, '[{"b":1},{"a":"x"}]', "2.json")

    with pytest.raises(DatasetError, match=r"2.json, element 2 .*, which is a JSON integer in 1.jsonl, line 1"):
        rows(tmp_path)


def test_an_element_without_end_is_refused_and_not_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_texts, "LINE_BYTES_MAX", 2**20)

    with pytest.raises(DatasetError, match=r"element 2 \(line 1\): not valid JSON, cut short, or longer than 1048576"):
        rows(a_file(tmp_path, '[{"a":1},{"a":"' + "x" * 3_000_000))


@pytest.mark.slow
def test_memory_does_not_grow_with_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 MB of elements; a reader of the whole would hold more than that."""
    element = '{"a": "' + "x" * 990 + '"},'
    place = a_file(tmp_path, "[" + element * 12_000 + '{"a":""}]')
    source = open_dataset(place, shard_rows=10**6, shard_bytes=10**9)
    monkeypatch.setattr(jsonl, "PIECE_BYTES", 2**20)
    tracemalloc.start()
    try:
        count = sum(batch.num_rows for batch in source.batches(source.shards[0]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 12_001
    assert peak < 10 * json_texts.READ_BYTES
