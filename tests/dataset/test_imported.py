"""Datasets that are read once into the work folder: of web servers, of a hub, of workbooks."""

from __future__ import annotations

import datetime as dt
import http.server
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import fsspec
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from orchestrator.api.inputs import readable_place
from orchestrator.api.job import Job
from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError

TABLE: Final = pa.table({"t": ["a", "b"], "n": [1, 2]})
USUAL: Final = ReadOptions()


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path, and counts what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path.partition("?")[0])
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
            return
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if "cut" in self.path:
            self.wfile.write((content or b"")[:10])
            self.connection.close()
        else:
            self.wfile.write(content or b"")

    def log_message(self, *_arguments: Any) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def rows(place: str, options: ReadOptions = USUAL) -> list[dict[str, Any]]:
    source = open_dataset(place, shard_rows=10, shard_bytes=10**6, options=options.of_files)
    return [row for shard in source.shards for batch in source.batches(shard) for row in batch.to_pylist()]


@pytest.mark.parametrize("path", ["/data/x.parquet", "/data/x.parquet?signature=hunter2", "/moved/data/x.parquet"])
def test_a_file_of_a_web_server_is_read_once_into_the_work_folder(path: str, server: Server, tmp_path: Path) -> None:
    server.files["/data/x.parquet"] = parquet_bytes()
    place = readable_place(server.url + path, USUAL, str(tmp_path))
    asked = len(server.asked)

    assert rows(place) == TABLE.to_pylist()
    assert Path(place).name == "x.parquet"
    assert Path(place).is_relative_to(tmp_path / "inputs")
    assert len(server.asked) == asked
    assert readable_place(server.url + path, USUAL, str(tmp_path)) == place


def test_another_content_is_another_dataset_and_the_name_alone_says_nothing(server: Server, tmp_path: Path) -> None:
    places = set()
    for content in (b"t\na\n", b"t\nb\n"):
        server.files["/x.csv"] = content
        places.add(readable_place(f"{server.url}/x.csv", USUAL, str(tmp_path)))

    assert [rows(place) for place in sorted(places, key=lambda place: Path(place).read_bytes())] == [
        [{"t": "a"}],
        [{"t": "b"}],
    ]


def test_a_url_whose_name_does_not_tell_the_format_is_read_as_the_setting_says(server: Server, tmp_path: Path) -> None:
    server.files["/export"] = b"t\na\n"
    place = readable_place(f"{server.url}/export?id=3", USUAL, str(tmp_path))

    with pytest.raises(DatasetError, match="set format under"):
        rows(place)
    assert rows(place, ReadOptions(format="csv")) == [{"t": "a"}]


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/none.parquet?signature=hunter2", DatasetError, "/none.parquet cannot be read: there is no such file"),
        ("/cut/x.parquet?signature=hunter2", DatasetError, "/cut/x.parquet cannot be read: "),
    ],
)
def test_what_cannot_be_read_is_refused_without_its_secrets(
    path: str, error: type[Exception], words: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.storage.download.RETRIES_S", 0)
    server.files["/cut/x.parquet"] = parquet_bytes()

    with pytest.raises(error) as raised:
        readable_place(server.url + path, USUAL, str(tmp_path))

    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.test/x.csv?sig=hunter2", "http://example.test/x.csv: rows would travel in the clear"),
        ("https://me:hunter2@example.test/x.csv", "https://example.test/x.csv: a URL names a host and a file"),
        ("https:///x.csv?sig=hunter2", "a URL names a host"),
    ],
)
def test_a_url_that_is_not_safe_is_refused_and_never_shown(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        readable_place(url, USUAL, str(tmp_path))

    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value) + repr(Job(dataset=url, model="m", prompt="p"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system of fsspec that answers for the hub, over a folder."""
    folder = tmp_path / "hub"
    (folder / "datasets/me/reviews/data").mkdir(parents=True)
    for number in range(2):
        pq.write_table(TABLE.slice(number, 1), folder / f"datasets/me/reviews/data/train-{number}.parquet")
    (folder / "datasets/me/reviews/README.md").write_text("# Reviews")

    class Hub(DirFileSystem):  # type: ignore[misc]  # fsspec has no types
        def __init__(self, **_options: Any) -> None:
            super().__init__(path=str(folder), fs=LocalFileSystem(), skip_instance_cache=True)

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", Hub)  # type: ignore[attr-defined]
    return folder


@pytest.mark.parametrize("place", ["data/train-*.parquet", "data", "**/*.parquet"])
def test_files_of_the_hub_are_read_once(place: str, hub: Path, tmp_path: Path) -> None:
    kept = readable_place(f"hf://datasets/me/reviews/{place}", USUAL, str(tmp_path / "work"))
    for file in hub.rglob("*.parquet"):
        file.unlink()

    assert rows(kept) == TABLE.to_pylist()


@pytest.mark.usefixtures("hub")
def test_one_file_of_the_hub_is_one_file(tmp_path: Path) -> None:
    kept = readable_place("hf://datasets/me/reviews/data/train-1.parquet", USUAL, str(tmp_path / "work"))

    assert rows(kept) == TABLE.to_pylist()[1:]
    assert Path(kept).name == "train-1.parquet"


@pytest.mark.usefixtures("hub")
def test_what_the_hub_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"hf://datasets/me/gone/x.parquet holds no files"):
        readable_place("hf://datasets/me/gone/x.parquet", USUAL, str(tmp_path))


def test_whatever_the_hubs_client_raises_is_told_without_its_words(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its HTTP client's errors are of no class that we know."""

    class Unreachable(Exception):
        pass

    def fail(*_arguments: Any) -> None:
        raise Unreachable("https://signed.test/?secret")

    monkeypatch.setattr(type(fsspec.filesystem("hf")), "find", fail)

    with pytest.raises(DatasetError, match=r"reviews cannot be read: Unreachable\. Check the path") as raised:
        readable_place("hf://datasets/me/reviews", USUAL, str(tmp_path / hub.name))
    assert "secret" not in str(raised.value)


def test_without_the_package_the_hub_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, **_options: Any) -> None:
        raise ImportError(name)

    monkeypatch.setattr(fsspec, "filesystem", missing)

    with pytest.raises(ConfigError, match=r"pip install 'batch-orchestrator\[hf\]'; or download it"):
        readable_place("hf://datasets/me/reviews/x.parquet", USUAL, str(tmp_path))


def a_workbook(folder: Path, sheets: dict[str, list[list[Any]]]) -> str:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        sheet = book.create_sheet(name.removeprefix("-"))
        sheet.sheet_state = "hidden" if name.startswith("-") else "visible"
        for line in lines:
            sheet.append(line)
    book.save(folder / "b.xlsx")
    return str(folder / "b.xlsx")


def test_the_columns_of_a_sheet_have_one_type_each(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 1, 2, 3, 4)  # noqa: DTZ001 - sheets have no zones
    lines = [
        ["id", "text", "share", "mixed", "day", "yes", 2024, "none"],
        [1, "x", 0.5, 7, dt.date(2024, 1, 1), True, 3.25, None],
        [],
        [10**16, None, 1, "a", moment, False, None, None],
    ]
    place = readable_place(a_workbook(tmp_path, {"one": lines, "-hidden": [["other"]]}), USUAL, str(tmp_path))

    assert rows(place) == [
        {
            "id": 1,
            "text": "x",
            "share": 0.5,
            "mixed": "7",
            "day": dt.datetime(2024, 1, 1),  # noqa: DTZ001
            "yes": True,
            "2024": 3.25,
            "none": None,
        },
        {"id": 10**16, "text": None, "share": 1, "mixed": "a", "day": moment, "yes": False, "2024": None, "none": None},
    ]


def test_a_sheet_is_chosen_by_name(tmp_path: Path) -> None:
    book = a_workbook(tmp_path, {"one": [["a"], [1]], "two": [["b"], [2]]})

    assert rows(readable_place(book, ReadOptions(sheet="two"), str(tmp_path)), ReadOptions(sheet="two")) == [{"b": 2}]
    with pytest.raises(DatasetError, match=r"b.xlsx has more than one sheet \('one', 'two'\): set sheet = 'one'"):
        readable_place(book, USUAL, str(tmp_path))
    with pytest.raises(DatasetError, match=r"b.xlsx has no sheet 'tow'; its sheets: 'two', 'one'"):
        readable_place(book, ReadOptions(sheet="tow"), str(tmp_path))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "the sheet is empty"),
        ([["a", None], [1, 2]], "column 2 has no name in the first row"),
        ([["a", "a"], [1, 2]], "more than one column is named 'a'"),
    ],
)
def test_a_sheet_that_is_no_table_is_refused(lines: list[list[Any]], words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=words):
        readable_place(a_workbook(tmp_path, {"one": lines}), USUAL, str(tmp_path))


def test_a_workbook_that_is_none_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.xls").write_bytes(b"PK\x03\x04")
    for name, words in (("b.xls", "cannot be read as a workbook: it is damaged"), ("c.ods", "does not exist")):
        with pytest.raises(DatasetError, match=words):
            readable_place(str(tmp_path / name), USUAL, str(tmp_path))


def test_a_workbook_of_a_web_server_is_read_once(server: Server, tmp_path: Path) -> None:
    server.files["/b.xlsx"] = Path(a_workbook(tmp_path, {"one": [["a"], [1]]})).read_bytes()

    assert rows(readable_place(f"{server.url}/b.xlsx", USUAL, str(tmp_path / "work"))) == [{"a": 1}]
