"""Datasets in an object store: the same rows, the same fingerprint, the same refusals as on a disk."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pytest

from orchestrator.dataset import parquet_arrow
from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.dataset.in_memory import keep_in, keep_table
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.storage.open import open_job_files
from tests.files import FORMATS, as_parquet
from tests.servers.s3 import S3Server
from tests.tiers import sampled

ROWS: Final = 5_000
TABLE: Final = pa.table({"n": range(ROWS), "text": [f"row {number} " + "x" * 40 for number in range(ROWS)]})


def opened(location: str | Path) -> Dataset:
    return open_dataset(location, shard_rows=2_000, shard_bytes=10**12)


def rows_of(dataset: Dataset, **options: Any) -> list[dict[str, Any]]:
    return [row for shard in dataset.shards for batch in dataset.batches(shard, **options) for row in batch.to_pylist()]


class Twin:
    """The same files in a folder and in a bucket."""

    def __init__(self, s3: S3Server, bucket: str, folder: Path) -> None:
        self.s3, self.bucket, self.folder = s3, bucket, folder
        self.url = f"s3://{bucket}/some/data"

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.s3.put(self.bucket, quote(f"some/data/{name}"), content)


@pytest.fixture
def twin(s3: S3Server, bucket: str, tmp_path: Path) -> Twin:
    return Twin(s3, bucket, tmp_path / "data")


@pytest.mark.parametrize("kind", sampled(FORMATS, quick={"parquet", "csv", "jsonl"}))
def test_a_file_is_the_same_dataset_at_a_url(twin: Twin, kind: str) -> None:
    twin.put(f"x.{kind}", FORMATS[kind](TABLE))

    near, far = opened(twin.folder / f"x.{kind}"), opened(f"{twin.url}/x.{kind}")

    assert far.fingerprint == near.fingerprint
    assert far.shards == near.shards
    assert far.schema == near.schema
    assert rows_of(far) == rows_of(near)
    assert len(rows_of(far)) == TABLE.num_rows
    last = far.shards[-1]
    tail = [row for batch in far.batches(last, columns=["n"], row_start=900) for row in batch.to_pylist()]
    assert tail == [row for batch in near.batches(last, columns=["n"], row_start=900) for row in batch.to_pylist()]


def test_large_row_groups_are_read_page_by_page(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_arrow, "FETCH_BYTES_MAX", 0)
    twin.put("x.parquet", as_parquet(TABLE))

    assert rows_of(opened(f"{twin.url}/x.parquet")) == TABLE.to_pylist()


@pytest.mark.parametrize("pattern", ["", "/", "/**/*.parquet", "/year=*/*.parquet", "/year=2026/*.parquet"])
def test_folders_and_globs_hold_the_same_files_at_a_url(twin: Twin, pattern: str) -> None:
    """With partition folders, and with what is hidden passed over."""
    for year in (2025, 2026):
        for part in ("b", "a"):
            twin.put(f"year={year}/{part}.parquet", as_parquet(TABLE.slice(year, 10)))
    twin.put("_SUCCESS", b"")
    twin.put("year=2026/.part.crc", b"x")

    near, far = opened(f"{twin.folder}{pattern}"), opened(f"{twin.url}{pattern}")

    assert far.fingerprint == near.fingerprint
    assert sorted(far.files) == sorted(near.files)
    assert rows_of(far) == rows_of(near)
    assert len(rows_of(far)) == (20 if "2026" in pattern else 40)


def test_a_mark_of_a_folder_is_no_file_and_names_are_taken_as_they_are(twin: Twin) -> None:
    """Consoles of object stores mark a folder by an empty object whose key ends in a slash."""
    for name in ("sp ace", "per%20cent", "100%", "ha#sh", "que?ry", "ünï", "a+b"):
        twin.put(f"{name}.parquet", as_parquet(TABLE.slice(len(name), 10)))
    for mark in ("", "empty/", "full/"):
        twin.s3.put(twin.bucket, f"some/data/{mark}", b"")
    twin.put("full/x.parquet", as_parquet(TABLE.slice(100, 10)))

    near, far = opened(twin.folder), opened(twin.url)

    assert sorted(far.files) == sorted(near.files)
    assert rows_of(far) == rows_of(near)
    assert len(rows_of(far)) == 80


def test_a_bucket_itself_is_a_dataset(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "x.parquet", as_parquet(TABLE))

    for location in (f"s3://{bucket}", f"s3://{bucket}/", f"s3://{bucket}/*.parquet", f"s3://{bucket}/x.parquet"):
        assert rows_of(opened(location)) == TABLE.to_pylist()


def test_a_file_replaced_since_it_was_opened_is_refused(twin: Twin) -> None:
    twin.put("x.parquet", as_parquet(TABLE))
    dataset = opened(f"{twin.url}/x.parquet")
    twin.put("x.parquet", as_parquet(TABLE.slice(1)))

    with pytest.raises(DatasetError, match=r"x\.parquet has changed since the dataset was opened"):
        rows_of(dataset)


def refusal(location: str) -> str:
    with pytest.raises((DatasetError, ConfigError)) as caught:
        opened(location)
    return str(caught.value)


def test_what_is_not_there_is_answered_with_what_is(twin: Twin) -> None:
    twin.put("x.parquet", as_parquet(TABLE))

    assert refusal(f"{twin.url}/y.parquet") == f"{twin.url}/y.parquet does not exist; {twin.url} holds x.parquet"
    assert refusal(f"{twin.url}/z/*.csv") == f"{twin.url}/z/*.csv holds no files to read; {twin.url} holds x.parquet"


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_named_with_what_to_set() -> None:
    for location in ("s3://no-such-bucket/x.parquet", "s3://no-such-bucket/*.csv", "s3://no-such-bucket"):
        words = refusal(location)

        assert "there is no bucket s3://no-such-bucket" in words
        assert "AWS_ACCESS_KEY_ID" in words
        assert "test-secret" not in words


@pytest.mark.parametrize("place", ["x.csv", "folder", "*.csv"])
def test_a_store_that_does_not_answer_is_a_dataset_that_cannot_be_listed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a folder is asked whether it is a table of its own."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr("orchestrator.storage.clients._RETRIES", {"max_retries": 0, "retry_timeout": timedelta(0)})

    with pytest.raises(DatasetError, match=r"cannot be listed .*check that the bucket exists"):
        opened(f"s3://silent-{len(place)}/{place}")


@pytest.mark.parametrize(
    "url", ["s3://id:hunter2@bucket/x.csv", "https://host/x.parquet?sig=hunter2", "ftp://hunter2/x"]
)
def test_a_url_that_may_bear_secrets_is_refused_and_not_shown(url: str) -> None:
    assert "hunter2" not in refusal(url)


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(as_parquet(TABLE))

    assert opened(f"file://{tmp_path}/x.parquet").fingerprint == opened(tmp_path / "x.parquet").fingerprint


def test_a_table_is_kept_in_a_store_under_the_name_it_has_on_a_disk(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    job_files = open_job_files(f"s3://{bucket}/work")

    names = {keep_in(job_files, "inputs", partial(keep_table, table)) for table in (TABLE, TABLE.to_reader(1_000))}

    here = keep_table(TABLE, tmp_path)
    assert names == {f"inputs/{here.name}"}
    assert s3.keys(bucket) == [f"work/inputs/{here.name}"]
    far = opened(f"s3://{bucket}/work/inputs/{here.name}")
    assert far.fingerprint == opened(here).fingerprint
    assert rows_of(far) == TABLE.to_pylist()
