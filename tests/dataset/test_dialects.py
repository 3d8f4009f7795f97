"""How CSV files are written: options are applied, what is plainly otherwise is refused, nothing is guessed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.job import Job, read_job
from orchestrator.dataset.dataset import AS_USUAL, open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError


def rows(place: Path, options: ReadOptions = AS_USUAL) -> list[dict[str, Any]]:
    source = open_dataset(place, shard_rows=10**6, shard_bytes=10**9, options=options)
    return [row for shard in source.shards for batch in source.batches(shard) for row in batch.to_pylist()]


def a_file(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    place = folder / name
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a;b\n1,5;x\n", {"delimiter": ";"}, [{"a": "1,5", "b": "x"}]),
        ("a\tb\n1\tx\n", {"delimiter": "\t"}, [{"a": "1", "b": "x"}]),
        ("a;b\n1;x\n", {"delimiter": ","}, [{"a;b": "1;x"}]),
        ("a,b\n'1,5','it''s'\n", {"quote": "'"}, [{"a": "1,5", "b": "it's"}]),
        ('a,b\n"1,x"\n', {"quote": ""}, [{"a": '"1', "b": 'x"'}]),
        ("a,b\n\xe4,\x80\n".encode("latin-1"), {"encoding": "cp1252"}, [{"a": "\xe4", "b": "€"}]),
        ("a,b\nä,日\n".encode("utf-16"), {"encoding": "utf-16"}, [{"a": "ä", "b": "日"}]),
        ("a,b\r\nä,😀\r\n".encode("utf-16-le"), {"encoding": "UTF-16LE"}, [{"a": "ä", "b": "😀"}]),
        ("1,x\n2,y\n", {"columns": ["a", "b"]}, [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]),
        ('a,b\nNA,"NA"\n,n/a\n', {"null_values": ["NA", ""]}, [{"a": None, "b": "NA"}, {"a": None, "b": "n/a"}]),
    ],
)
def test_a_csv_is_read_as_its_options_say(
    content: str | bytes, options: dict[str, Any], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert rows(a_file(tmp_path, content), ReadOptions(**options)) == expected


def test_a_long_file_in_another_encoding_is_read_over_the_ends_of_blocks(tmp_path: Path) -> None:
    """A character of several bytes may lie on both sides of a block's end."""
    texts = [f"{number}:" + "日€" * 40 for number in range(30_000)]
    place = a_file(tmp_path, ("n,t\n" + "".join(f"x,{text}\r\n" for text in texts)).encode("utf-16"))

    assert [row["t"] for row in rows(place, ReadOptions(encoding="utf-16"))] == texts


@pytest.mark.parametrize("name", ["x.tsv", "X.TSV", "x.tsv.gz"])
def test_a_file_named_tsv_is_separated_by_tabs(name: str, tmp_path: Path) -> None:
    content = b"a\tb\n1,5\tx\n"
    place = a_file(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)

    assert rows(place) == [{"a": "1,5", "b": "x"}]


@pytest.mark.parametrize(
    ("content", "name", "looks"),
    [
        ("a;b\n1;x\n", "x.csv", "looks like ';', not ',': set delimiter = \";\""),
        ("preis;name, ort\n1,5;x\n2;y\n", "x.csv", "looks like ';', not ','"),
        ("a\tb\n1\tx\n", "x.csv", 'set delimiter = "\\t"'),
        ("a|b\n", "x.csv", "looks like '|'"),
        ("a,b\n1,x\n", "x.tsv", "looks like ',', not '\\t'"),
    ],
)
def test_a_file_with_plainly_another_separator_is_refused_with_the_option_to_set(
    content: str, name: str, looks: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as raised:
        rows(a_file(tmp_path, content, name))

    assert looks in str(raised.value)
    assert name in str(raised.value)


@pytest.mark.parametrize("content", ["text\none; two\n", "a,b;c\n1,x;y\n", "text\n", 'text\n"a;b"\n"c"\n'])
def test_other_separators_within_values_are_no_reason_to_refuse(content: str, tmp_path: Path) -> None:
    rows(a_file(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"a,b\nx,\xe4\n", {}, "row 2 (the header is row 1) is not UTF-8: set encoding"),
        ("a,b\n".encode("utf-16-le"), {}, "set encoding = 'utf-16-le'"),
        (b"a,b\nx,\x81\n", {"encoding": "cp1252"}, "its text is not cp1252"),
        (b"x,1\ny\n", {"columns": ["a", "b"]}, "row 2 has 1 fields, `columns` names 2"),
    ],
)
def test_what_does_not_fit_the_options_is_refused_without_its_content(
    content: bytes, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as raised:
        rows(a_file(tmp_path, content), ReadOptions(**options))

    assert words in str(raised.value)


def test_text_in_another_encoding_far_behind_is_refused_as_such(tmp_path: Path) -> None:
    place = a_file(tmp_path, b"a,b\n" + b"x,y\n" * 1_500_000 + b"x,\x81\n")

    with pytest.raises(DatasetError, match="its text is not cp1252"):
        rows(place, ReadOptions(encoding="cp1252"))


def test_other_options_make_another_dataset_and_equal_ones_the_same(tmp_path: Path) -> None:
    """What is read determines the requests, and so the job."""
    place = a_file(tmp_path, "a,b\n1,NA\n")

    def mark(**options: Any) -> str:
        chosen = ReadOptions(**options)
        return open_dataset(place, shard_rows=10, shard_bytes=10**6, options=chosen).fingerprint

    assert len({mark(), mark(null_values=["NA"]), mark(quote="'"), mark(encoding="latin-1")}) == 4
    assert mark(encoding="UTF8") == mark()
    assert mark(encoding="latin1") == mark(encoding="latin-1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delimiter": ";;"}, "delimiter must be one ASCII character"),
        ({"delimiter": '"'}, "the same character"),
        ({"quote": "\n"}, "quote must be"),
        ({"encoding": "klingon"}, "encoding 'klingon' is not known"),
        ({"encoding": "hex"}, "encoding 'hex' is not known"),
        ({"null_values": "NA"}, "null_values must be a list of texts"),
        ({"delimeter": ";"}, "did you mean 'delimiter'"),
    ],
)
def test_options_that_mean_nothing_are_refused_when_the_job_is_made(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Job(dataset="x.csv", model="m", prompt="{a}", dataset_options=options)


def test_the_options_are_a_table_of_the_job_file(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text(
        '[job]\nname = "n"\ndataset = "x.csv"\n[dataset]\ndelimiter = "\\t"\n[request]\nmodel = "m"\nprompt = "{a}"\n'
    )

    assert read_job(file).resolved_dataset_options == ReadOptions(delimiter="\t")


def test_the_folder_of_images_starts_at_the_job_files_folder(tmp_path: Path) -> None:
    """As every path of a job file; a URL stays one."""
    for given, expected in (("photos", f"{tmp_path}/photos"), ("s3://b/photos", "s3://b/photos")):
        file = tmp_path / "job.toml"
        file.write_text(
            f'[job]\nname = "n"\ndataset = "https://x.test/x.csv"\n[dataset]\nimage_folder = "{given}"\n'
            '[request]\nmodel = "m"\nprompt = "{image:a}"\n'
        )

        assert read_job(file).resolved_dataset_options.image_folder == expected
        assert read_job(file).dataset == "https://x.test/x.csv"


def test_options_for_what_is_no_csv_are_refused(tmp_path: Path) -> None:
    place = a_file(tmp_path, '{"a": 1}\n', "x.jsonl")

    with pytest.raises(ConfigError, match=r"\[dataset\] has options for CSV files"):
        rows(place, ReadOptions(delimiter=";"))
