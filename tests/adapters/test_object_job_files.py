"""The work folder in an object store: what the contract suite cannot say of every kind."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ConfigError, StorageError
from orchestrator.ports import JobFiles
from orchestrator.storage.names import TEMPORARY
from orchestrator.storage.open import check_place, open_job_files
from tests.servers.s3 import S3Server, object_job_files

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "raw/c00000-00000.a1.results.jsonl.zst"
LARGE_BYTES: Final = 20 * 2**20  # more than two parts
WRITERS: Final = 8


def write(job_files: JobFiles, name: str, content: bytes, *, block_bytes: int = 1_000_003) -> None:
    with job_files.create(name) as file:
        for start in range(0, len(content), block_bytes):
            file.write(content[start : start + block_bytes])


def read(job_files: JobFiles, name: str) -> bytes:
    with job_files.open(name) as file:
        return file.read()


def at_once(*calls: Callable[[], object]) -> None:
    """Make all calls at the same moment, each in a thread; raise what one of them raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(run, call) for call in calls]:
            future.result()


@pytest.mark.parametrize("size_bytes", [8 * 2**20 - 1, 8 * 2**20, 8 * 2**20 + 1, LARGE_BYTES])
@pytest.mark.parametrize("block_bytes", [100_000, 64 * 2**20])
def test_a_file_of_any_size_is_read_back_byte_for_byte(
    s3: S3Server, bucket: str, size_bytes: int, block_bytes: int
) -> None:
    """On both sides of the size at which a file is streamed."""
    job_files = open_job_files(f"s3://{bucket}/work")
    content = os.urandom(size_bytes)

    write(job_files, NAME, content, block_bytes=block_bytes)

    assert read(job_files, NAME) == content
    assert s3.keys(bucket) == [f"work/{NAME}"]
    assert s3.unfinished_uploads(bucket) == []


@pytest.mark.parametrize(("size_bytes", "writers"), [(100_000, WRITERS), (LARGE_BYTES, 3)])
def test_of_many_writers_at_once_one_content_is_kept_whole(
    s3: S3Server, bucket: str, size_bytes: int, writers: int
) -> None:
    job_files = open_job_files(f"s3://{bucket}/work")
    contents = [bytes([number]) * size_bytes for number in range(writers)]

    at_once(*(lambda content=content: write(job_files, NAME, content) for content in contents))

    kept = read(job_files, NAME)
    assert kept in contents
    assert s3.keys(bucket) == [f"work/{NAME}"]
    write(job_files, NAME, b"later")
    assert read(job_files, NAME) == kept


def test_a_large_file_never_replaces_a_small_one_that_came_first(s3: S3Server, bucket: str) -> None:
    job_files = open_job_files(f"s3://{bucket}/work")
    with job_files.create(NAME) as slow:
        slow.write(b"s" * LARGE_BYTES)
        write(job_files, NAME, b"quick")

    assert read(job_files, NAME) == b"quick"
    assert s3.keys(bucket) == [f"work/{NAME}"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_large_file_whose_writing_failed_leaves_nothing_in_the_store(
    s3: S3Server, bucket: str, error: type[BaseException]
) -> None:
    """Not even an upload that nobody sees and somebody pays for."""
    job_files = open_job_files(f"s3://{bucket}/work")

    with pytest.raises(error), job_files.create(NAME) as file:  # noqa: PT012
        file.write(b"x" * LARGE_BYTES)
        raise error

    assert s3.keys(bucket) == []
    assert s3.unfinished_uploads(bucket) == []


DYING: Final = """
import sys, threading
from orchestrator.storage.open import open_job_files

with open_job_files(sys.argv[1]).create("raw/half.zst") as file:
    file.write(b"x" * 30_000_000)
    print("written", flush=True)
    threading.Event().wait()
"""


@pytest.mark.usefixtures("s3")
def test_a_process_killed_in_the_middle_of_a_large_file_leaves_nothing_to_see(bucket: str) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", DYING, f"s3://{bucket}/work"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)

    job_files = open_job_files(f"s3://{bucket}/work")

    assert job_files.names("raw") == []
    assert not job_files.exists("raw/half.zst")
    write(job_files, "raw/half.zst", b"whole")
    assert read(job_files, "raw/half.zst") == b"whole"


def test_names_leave_out_what_is_being_written(s3: S3Server, bucket: str) -> None:
    """Also what a process killed between the upload and the copy has left."""
    s3.put(bucket, f"work/raw/{TEMPORARY}0123456789abcdef", b"left")
    s3.put(bucket, "work/raw/whole", b"whole")

    assert open_job_files(f"s3://{bucket}/work").names("raw") == ["raw/whole"]
    open_job_files(f"s3://{bucket}/work").sweep("raw")
    assert s3.keys(bucket) == ["work/raw/whole"]


def test_a_whole_bucket_can_be_the_work_folder(s3: S3Server, bucket: str) -> None:
    job_files = open_job_files(f"s3://{bucket}")
    check_place(f"s3://{bucket}")

    write(job_files, "job.json", b"{}")
    write(job_files, "large", b"x" * LARGE_BYTES)

    assert s3.keys(bucket) == ["job.json", "large"]


def test_threads_share_one_client(s3: S3Server, bucket: str) -> None:
    folders = [open_job_files(f"s3://{bucket}/work/job-{number}") for number in range(WRITERS)]

    def fill(job_files: JobFiles, number: int) -> None:
        for name in ("raw/a", "raw/b", "parts/c"):
            write(job_files, name, name.encode() * (number + 1))
            assert read(job_files, name) == name.encode() * (number + 1)
        assert job_files.names("raw") == ["raw/a", "raw/b"]

    at_once(
        *(
            lambda job_files=job_files, number=number: fill(job_files, number)
            for number, job_files in enumerate(folders)
        )
    )

    assert len({id(job_files._store) for job_files in folders}) == 1  # type: ignore[attr-defined]
    assert len(s3.keys(bucket)) == 3 * WRITERS


def test_parquet_is_written_and_read_a_row_group_at_a_time(s3: S3Server, bucket: str) -> None:
    job_files = open_job_files(f"s3://{bucket}/work")
    table = pa.table({"row": range(300_000), "noise": [os.urandom(50) for _ in range(300_000)]})

    with job_files.create("parts/p.parquet") as file, pq.ParquetWriter(file, table.schema) as writer:
        for start in range(0, table.num_rows, 50_000):
            writer.write_table(table.slice(start, 50_000))

    with job_files.open("parts/p.parquet") as file:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        assert parquet.num_row_groups == 6
        assert parquet.read_row_group(4) == table.slice(200_000, 50_000)
    assert s3.keys(bucket) == ["work/parts/p.parquet"]


@pytest.mark.usefixtures("s3")
def test_zstandard_streams_in_and_out(bucket: str) -> None:
    job_files = open_job_files(f"s3://{bucket}/work")
    content = os.urandom(LARGE_BYTES)

    with (
        job_files.create(NAME) as file,
        zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as packed,
    ):
        for start in range(0, LARGE_BYTES, 2**20):
            packed.write(content[start : start + 2**20])

    with job_files.open(NAME) as file, zstandard.ZstdDecompressor().stream_reader(file) as unpacked:
        assert unpacked.read() == content


@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 320), st.sampled_from([os.SEEK_SET, os.SEEK_CUR]), st.integers(0, 90))),
)
def test_a_file_reads_like_any_other_from_any_place(size_bytes: int, moves: list[tuple[int, int, int]]) -> None:
    """With windows of 4 to 32 bytes, so that reads lie within one, across several, and past the end."""
    job_files, content = object_job_files(), bytes(number % 251 for number in range(size_bytes))
    write(job_files, NAME, content)
    here = io.BytesIO(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.storage.object_store.WINDOW_BYTES_MIN", 4)
        patch.setattr("orchestrator.storage.object_store.WINDOW_BYTES_MAX", 32)
        patch.setattr("orchestrator.storage.object_store.BUFFER_BYTES", 3)
        with job_files.open(NAME) as there:
            for offset, whence, count in moves:
                assert there.seek(offset, whence) == here.seek(offset, whence)
                assert there.read(count) == here.read(count)
                assert there.tell() == here.tell()


def test_a_file_read_to_its_end_holds_nothing_of_it(bucket: str) -> None:
    """A shard's output is made from many files, all open."""
    job_files = open_job_files(f"s3://{bucket}/work")
    write(job_files, NAME, b"x" * LARGE_BYTES)

    with job_files.open(NAME) as file:
        file.read()

        assert len(file.raw._window) == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", [None, "hunter2, which is not base64"])
def test_azure_without_an_account_or_a_proper_key_is_a_setting_to_mend(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    if key is not None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)

    with pytest.raises(ConfigError, match="AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY") as caught:
        open_job_files("az://container/work")

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_a_setting_to_mend() -> None:
    url = "s3://no-such-bucket/work"

    with pytest.raises(
        ConfigError, match=r"^s3://no-such-bucket/work cannot be written: 404.*NoSuchBucket.*AWS_REGION"
    ):
        check_place(url)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/work/raw/x cannot be written: 404"):
        write(open_job_files(url), "raw/x", b"x")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/work/raw/x cannot be written: 404"):
        write(open_job_files(url), "raw/x", b"x" * LARGE_BYTES)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/work/raw cannot be listed: 404"):
        open_job_files(url).names("raw")


def test_a_place_that_works_passes_and_stays_empty(s3: S3Server, bucket: str) -> None:
    check_place(f"s3://{bucket}/work")

    assert s3.keys(bucket) == []


@pytest.mark.timeout(60)  # with the retries that calls have it would be minutes
@pytest.mark.usefixtures("s3")
def test_a_closed_port_is_found_out_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"s3://bucket/work cannot be written: the store does not answer; check"):
            check_place("s3://bucket/work")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("s3")
def test_an_endpoint_that_takes_calls_and_never_answers_is_found_out_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"s3://bucket/work cannot be written: the store does not answer; check"):
            check_place("s3://bucket/work")


@contextmanager
def in_front_of(s3: S3Server, answer: Callable[[BaseHTTPRequestHandler], bool]) -> Iterator[str]:
    """Run a server that answers for itself where `answer` says that it did, and hands on without If-None-Match."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if answer(self):
                return
            kept = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "if-none-match")
            }
            found = httpx.request(self.command, s3.url + self.path, headers=kept, content=body, trust_env=False)
            self.send_response(found.status_code)
            for name, value in found.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(found.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_that_replaces_what_it_should_keep_is_no_work_folder(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_front_of(s3, lambda _request: False) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)

        with pytest.raises(ConfigError, match="overwrites existing files"):
            check_place(f"s3://{bucket}/work")

    assert s3.keys(bucket) == []


def test_refused_credentials_are_named_by_their_variables_and_not_shown(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> bool:
        body = b"<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>test-key-id</AWSAccessKeyId></Error>"
        request.send_response(403)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        return True

    with in_front_of(s3, refuse) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)

        with pytest.raises(ConfigError, match=r"403 Forbidden, InvalidAccessKeyId.*AWS_SECRET_ACCESS_KEY") as caught:
            check_place(f"s3://{bucket}/work")
        with pytest.raises(StorageError, match="403 Forbidden") as second:
            open_job_files(f"s3://{bucket}/work").exists("raw/x")

    for error in (caught.value, second.value):
        assert "test-key-id" not in str(error)
        assert error.__cause__ is None
        assert error.__suppress_context__


FORKED: Final = """
import os, sys
from orchestrator.domain.errors import ConfigError
from orchestrator.storage.open import open_job_files

open_job_files(sys.argv[1]).exists("raw/x")
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    open_job_files(sys.argv[1]).exists("raw/x")
except ConfigError as error:
    print(error, flush=True)
    os._exit(3)
"""


def test_a_forked_process_is_told_so_and_does_not_wait_for_ever(bucket: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, f"s3://{bucket}/work"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 3, done.stderr
    assert "--pool=threads" in done.stdout


WITHOUT_PACKAGE: Final = """
import sys
sys.modules["obstore"] = None
from orchestrator.domain.errors import ConfigError
from orchestrator.storage.open import check_place, open_job_files
for ask in (open_job_files, check_place):
    try:
        ask("s3://bucket/work")
    except ConfigError as error:
        print(error)
"""


def test_without_its_package_an_object_store_says_how_to_install_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.count("pip install 'batch-orchestrator[object-store]'") == 2


def test_a_file_too_large_to_be_put_in_place_is_refused_while_it_is_written(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.storage.object_store.COPY_BYTES_MAX", LARGE_BYTES - 1)

    with pytest.raises(StorageError, match="larger than 5 GiB"):
        write(open_job_files(f"s3://{bucket}/work"), NAME, b"x" * LARGE_BYTES)

    assert s3.keys(bucket) == []
    assert s3.unfinished_uploads(bucket) == []
