"""A job's files: whole or absent, created once, never changed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from orchestrator.domain.errors import StorageError
from orchestrator.ports import JobFiles
from orchestrator.storage.local import LocalJobFiles

NAME: Final = "requests/c00000-00000.jsonl.zst"
ROOT: Final = Path(__file__).resolve().parents[2]


def write(job_files: JobFiles, name: str, content: bytes) -> None:
    with job_files.create(name) as file:
        file.write(content)


def read(job_files: JobFiles, name: str) -> bytes:
    with job_files.open(name) as file:
        return file.read()


@pytest.mark.parametrize("content", [b"", b"one line\n", bytes(range(256)) * 5_000])
def test_what_was_written_is_read_byte_for_byte(job_files: JobFiles, content: bytes) -> None:
    write(job_files, NAME, content)

    assert read(job_files, NAME) == content
    assert job_files.exists(NAME)


def test_a_file_appears_only_when_it_is_whole(job_files: JobFiles) -> None:
    with job_files.create(NAME) as file:
        file.write(b"half")
        file.flush()
        assert not job_files.exists(NAME)
        assert job_files.names("requests") == []
        file.write(b", and the other half")

    assert read(job_files, NAME) == b"half, and the other half"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device. Free some space and type the command again: what is recorded is kept"),
        (errno.EROFS, "Read-only file system. Make its folder writable and type the command again: what is recorded"),
        (errno.EIO, "Input/output error$"),
    ],
)
def test_a_disk_that_takes_no_more_is_told_with_what_to_do(tmp_path: Path, number: int, told: str) -> None:
    with (
        pytest.raises(StorageError, match=f"{tmp_path}/{NAME}: cannot be written: {told}"),
        LocalJobFiles(tmp_path).create(NAME),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("error", [ValueError, StorageError, KeyboardInterrupt, GeneratorExit])
def test_a_file_whose_writing_failed_is_not_there(job_files: JobFiles, error: type[BaseException]) -> None:
    """The error comes through as it is, and the name is free."""
    with pytest.raises(error), job_files.create(NAME) as file:  # noqa: PT012
        file.write(b"half")
        raise error

    assert not job_files.exists(NAME)
    assert job_files.names("requests") == []
    write(job_files, NAME, b"whole")
    assert read(job_files, NAME) == b"whole"


def test_a_file_whose_writing_failed_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError), LocalJobFiles(tmp_path).create(NAME) as file:  # noqa: PT012
        file.write(b"half")
        raise ValueError

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_in_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for _ in range(2):
        write(LocalJobFiles(tmp_path), NAME, b"whole")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / NAME]


def test_a_name_is_created_once_and_keeps_its_first_content(job_files: JobFiles) -> None:
    write(job_files, NAME, b"first")

    write(job_files, NAME, b"second")

    assert read(job_files, NAME) == b"first"


def test_of_two_that_create_a_name_at_once_the_first_to_end_is_kept(job_files: JobFiles) -> None:
    with job_files.create(NAME) as slow:
        slow.write(b"slow")
        write(job_files, NAME, b"quick")
        slow.write(b", to no avail")

    assert read(job_files, NAME) == b"quick"


def test_many_threads_that_create_a_name_leave_one_whole_content(job_files: JobFiles) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    barrier = threading.Barrier(len(contents))

    def create(content: bytes) -> None:
        barrier.wait()
        write(job_files, NAME, content)

    threads = [threading.Thread(target=create, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert read(job_files, NAME) in contents
    assert job_files.names("requests") == [NAME]


def test_names_are_those_in_the_folder_itself_sorted_and_whole(job_files: JobFiles) -> None:
    for name in ("raw/b.zst", "raw/a.zst", "raw/c.zst", "raw/deeper/d.zst", "parts/e", "f", "raw2/g"):
        write(job_files, name, b"x")

    with job_files.create("raw/aa.zst"):
        assert job_files.names("raw") == ["raw/a.zst", "raw/b.zst", "raw/c.zst"]
    assert job_files.names("raw/deeper") == ["raw/deeper/d.zst"]
    assert job_files.names("nothing") == []


def test_a_folder_is_no_file(job_files: JobFiles) -> None:
    write(job_files, NAME, b"x")

    assert not job_files.exists("requests")
    with pytest.raises(StorageError), job_files.open("requests"):
        pass


def test_a_file_that_is_not_there_cannot_be_opened(job_files: JobFiles) -> None:
    with pytest.raises(StorageError, match=r"c00000-00000\.jsonl\.zst"), job_files.open(NAME):
        pass


def test_a_file_can_be_read_in_pieces_and_from_any_place(job_files: JobFiles) -> None:
    """A Parquet reader begins at the end."""
    write(job_files, NAME, b"0123456789")

    with job_files.open(NAME) as file:
        file.seek(-4, os.SEEK_END)
        assert file.read(2) == b"67"
        assert file.tell() == 8


def test_a_file_is_taken_away_once_and_again(job_files: JobFiles) -> None:
    write(job_files, NAME, b"first")

    job_files.remove(NAME)
    job_files.remove(NAME)

    assert not job_files.exists(NAME)
    write(job_files, NAME, b"second")
    assert read(job_files, NAME) == b"second"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../x", "a/..", "/etc/passwd", "/", "a\0b", "a/\0"])
def test_a_name_that_leads_out_of_the_folder_is_refused(job_files: JobFiles, name: str) -> None:
    with pytest.raises(StorageError), job_files.create(name):
        pass
    with pytest.raises(StorageError), job_files.open(name):
        pass
    for ask in (job_files.exists, job_files.remove, job_files.names):
        with pytest.raises(StorageError):
            ask(name)


FILLER: Final = """
import resource, signal, sys
from pathlib import Path
from orchestrator.domain.errors import StorageError
from orchestrator.storage.local import LocalJobFiles

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with LocalJobFiles(Path(sys.argv[1])).create("raw/big.zst") as file:
        for _ in range(int(sys.argv[2])):
            file.write(b"x" * 1_000)
except StorageError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("blocks", [101, 1_000])
def test_a_disk_that_fills_up_is_an_error_that_names_the_file_and_leaves_none(tmp_path: Path, blocks: int) -> None:
    """Also where the last of it only leaves the buffer when the file is closed."""
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(tmp_path), str(blocks)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (3, "")
    assert "raw/big.zst" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


DYING: Final = """
import sys, threading
from pathlib import Path
from orchestrator.storage.local import LocalJobFiles

with LocalJobFiles(Path(sys.argv[1])).create("raw/half.zst") as file:
    file.write(b"x" * 1_000_000)
    file.flush()
    print("written", flush=True)
    threading.Event().wait()
"""


def test_a_process_killed_while_writing_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    """What it leaves is no name of ours, and in nobody's way."""
    writer = subprocess.Popen([sys.executable, "-c", DYING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)

    job_files = LocalJobFiles(tmp_path)

    assert not job_files.exists("raw/half.zst")
    assert job_files.names("raw") == []
    write(job_files, "raw/half.zst", b"whole")
    assert read(job_files, "raw/half.zst") == b"whole"
    assert len(list((tmp_path / "raw").iterdir())) == 2
    job_files.sweep("raw")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["half.zst"]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(b"a file, where a folder should be")

    with pytest.raises(StorageError, match=r"c00000-00000"), LocalJobFiles(tmp_path).create(NAME):
        pass


def test_a_folder_is_not_taken_away(tmp_path: Path) -> None:
    job_files = LocalJobFiles(tmp_path)
    write(job_files, NAME, b"x")

    with pytest.raises(StorageError, match="requests"):
        job_files.remove("requests")

    assert job_files.exists(NAME)
