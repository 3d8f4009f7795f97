"""The file a ledger is kept in: it outlives its process, and no bad place is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.errors import LedgerAway, LedgerError
from orchestrator.domain.model import ChunkState, Step
from orchestrator.ledger.db import schema
from orchestrator.ledger.db.database import open_sqlite, translated
from orchestrator.ledger.db.sqlite import refuse_network_disk
from tests.builders import JOB, NOW, a_chunk, an_attempt
from tests.contract.ledger_harness import LedgerHarness

ROOT: Final = Path(__file__).resolve().parents[2]


def test_a_ledger_in_a_file_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    database = open_sqlite(path)
    job = LedgerHarness(database).open()
    LedgerHarness(database).add(a_chunk())
    LedgerHarness(database).write(AttemptOpened(attempt=an_attempt(), budget_usd=None))
    database.close()

    database = open_sqlite(path)

    harness = LedgerHarness(database)
    assert (harness.ledger.job(JOB), harness.ledger.chunk(a_chunk().id)) == (job, a_chunk())
    assert harness.admin.attempts(JOB) == [an_attempt()]
    database.close()


SENDER: Final = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from orchestrator.domain.changes import AttemptOpened, ChunkMoved
from orchestrator.domain.model import ChunkState, Step
from orchestrator.ledger.db.database import open_sqlite
from tests.builders import NOW, a_chunk, an_attempt
from tests.contract.ledger_harness import LedgerHarness

harness = LedgerHarness(open_sqlite(Path(sys.argv[1])))
[claim] = harness.claim(Step.SUBMIT)
begun = ChunkMoved(before=a_chunk(), after=a_chunk(state=ChunkState.SUBMITTING), due_at=NOW)
harness.ledger.record(claim, begun, AttemptOpened(attempt=an_attempt(), budget_usd=None), now=NOW, keep=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_intent_outlives_a_kill_right_after_it(tmp_path: Path) -> None:
    """Promise 2: what was committed before the POST is there for whoever recovers."""
    path = tmp_path / "ledger.db"
    database = open_sqlite(path)
    LedgerHarness(database).open()
    LedgerHarness(database).add(a_chunk())
    database.close()

    killed = subprocess.run([sys.executable, "-c", SENDER, str(path)], cwd=ROOT, check=False, timeout=60)

    assert killed.returncode == -signal.SIGKILL
    database = open_sqlite(path)
    assert LedgerHarness(database).ledger.chunk(a_chunk().id).state is ChunkState.SUBMITTING
    assert LedgerHarness(database).admin.attempts(JOB) == [an_attempt()]
    database.close()


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """synchronous=FULL (2) and WAL: with less, a power loss takes a committed intent back."""
    database = open_sqlite(tmp_path / "ledger.db")

    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_a_transaction_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    database = open_sqlite(tmp_path / "ledger.db")
    LedgerHarness(database).open()

    with pytest.raises(KeyError), database.write() as tx:  # noqa: PT012
        tx.execute(sa.delete(schema.jobs))
        raise KeyError

    assert LedgerHarness(database).ledger.job(JOB).id == JOB
    database.close()


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to be looked at " * 20, b"\0" * 8192])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)

    with pytest.raises(LedgerError, match=r"ledger\.db"):
        open_sqlite(path)

    assert path.read_bytes() == content


@pytest.mark.parametrize("cause", ["unable to open database file", "attempt to write a readonly database"])
def test_a_ledger_that_cannot_be_written_says_what_to_do(cause: str) -> None:
    """SQLite writes beside the file, also for who only reads: on a read-only disk it opens nothing."""
    with pytest.raises(LedgerAway, match="also for commands that only look: a copy"), translated("here"):
        raise sa.exc.OperationalError("SELECT", {}, Exception(cause))


def test_damage_in_the_middle_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    database = open_sqlite(path)
    harness = LedgerHarness(database)
    harness.open(shards=2_000)
    database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))

    with pytest.raises(LedgerError):
        LedgerHarness(open_sqlite(path)).ledger.shards(JOB)


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"nowhere.ledger\.db"):
        open_sqlite(tmp_path / "nowhere" / "ledger.db")


def test_an_error_of_the_database_tells_no_parameters(tmp_path: Path) -> None:
    """Promise 8: what the ledger holds of a job stays out of messages that may be logged."""
    database = open_sqlite(tmp_path / "ledger.db")
    harness = LedgerHarness(database)
    harness.open()
    harness.add(a_chunk())

    with pytest.raises(LedgerError) as caught:
        harness.add(replace(a_chunk(), error="the provider's words"))

    assert "the provider's words" not in str(caught.value)
    assert caught.value.__suppress_context__
    database.close()


MOUNTS: Final = """\
/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /run tmpfs rw 0 0
server:/export /net nfs4 rw 0 0
/dev/sdb1 /net/local xfs rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
host:dir /home/me/remote fuse.sshfs rw 0 0
server:/old /data ext4 rw 0 0
server:/new /data nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/work/ledger.db", None),
        ("/net/work/ledger.db", "nfs4"),
        ("/net/ledger.db", "nfs4"),
        ("/network/ledger.db", None),
        ("/net/local/ledger.db", None),
        ("/mnt/my share/work/ledger.db", "cifs"),
        ("/home/me/remote/ledger.db", "fuse.sshfs"),
        ("/home/me/ledger.db", None),
        ("/data/ledger.db", "nfs"),  # mounted over: the later one is what is there
    ],
)
def test_a_network_disk_is_refused(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    if kind is None:
        refuse_network_disk(Path(path), mounts)
    else:
        with pytest.raises(LedgerError, match=rf"network disk \({kind},"):
            refuse_network_disk(Path(path), mounts)


@pytest.mark.parametrize("content", ["", "\n", "none\n"])
def test_a_list_of_mounts_that_tells_nothing_refuses_nothing(tmp_path: Path, content: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(content)

    refuse_network_disk(tmp_path / "ledger.db", mounts)


def test_a_machine_without_a_list_of_mounts_refuses_nothing(tmp_path: Path) -> None:
    refuse_network_disk(tmp_path / "ledger.db", tmp_path / "nothing")


def test_the_ledger_in_memory_is_each_its_own() -> None:
    one, two = open_sqlite(None), open_sqlite(None)
    LedgerHarness(one).open()

    assert LedgerHarness(two).admin.jobs() == []
    assert LedgerHarness(two).claim(*Step, now=NOW) == []
    one.close()
    two.close()
