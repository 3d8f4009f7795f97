"""Who may read a work folder: its owner; the group of a folder that a group shares; nobody else (S9, S19)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator.storage import permissions
from orchestrator.storage.local import LocalJobFiles
from tests.acceptance.datasets import MODEL, QUICK, marked
from tests.gateway_process import API_KEY, running_gateway

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="folders of other systems hand on their group by themselves"
)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """The umask of most machines: everybody may read what it lets through."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Return the modes of all that lies in a folder, by its name there."""
    found = {".": oct(stat.S_IMODE(folder.stat().st_mode))}
    for path in folder.rglob("*"):
        found[path.relative_to(folder).as_posix()] = oct(stat.S_IMODE(path.lstat().st_mode))
    return found


def run_in(work: Path, gateway_folder: Path, **options: Path) -> None:
    with running_gateway(gateway_folder, "--duration-s", "0") as gateway:
        gateway.set_faults({"lines": {"not_json": 0.2}})
        orchestrator.run(
            marked(40),
            prompt="{text}",
            model=MODEL,
            work=work,
            provider_options={"base_url": gateway.url, **QUICK},
            policy={"chunk_requests_max": 20, "retry_gather_s": 0.2},
            **options,
        )


@pytest.mark.usefixtures("usual_umask")
def test_a_whole_job_leaves_nothing_that_others_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, answers, the ledger and its WAL: 0600 in folders of 0700, though the umask would show them all."""
    monkeypatch.setenv("ONEROUTER_API_KEY", API_KEY)
    during: dict[str, str] = {}
    monkeypatch.setattr(orchestrator.engine.local_runner, "REPORT_S", 0.0)

    run_in(tmp_path / "work", tmp_path / "gateway")

    during |= modes(tmp_path / "work")
    folders = {name: mode for name, mode in during.items() if (tmp_path / "work" / name).is_dir()}
    files = {name: mode for name, mode in during.items() if name not in folders}
    assert set(folders.values()) == {"0o700"}, folders
    assert set(files.values()) == {"0o600"}, files
    assert {"ledger.db", "runner.lock"} <= files.keys()
    tops = {name.split("/")[1] for name in files if "/" in name and not name.startswith("inputs")}
    assert {"requests", "raw", "parts", "output", "journal", "quarantine", "job.json"} <= tops


@pytest.mark.slow
@pytest.mark.usefixtures("usual_umask")
def test_a_group_shares_a_folder_by_its_setgid_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`chmod 2770`: who else is of the group can go on with the job, whatever this user's umask; others see nothing."""
    monkeypatch.setenv("ONEROUTER_API_KEY", API_KEY)
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o2770)

    run_in(work, tmp_path / "gateway")

    found = modes(work)
    assert {mode for name, mode in found.items() if (work / name).is_dir()} == {"0o2770"}, found
    assert {mode for name, mode in found.items() if not (work / name).is_dir()} == {"0o660"}, found


@pytest.mark.slow
@pytest.mark.usefixtures("usual_umask")
def test_an_output_that_the_user_named_is_written_as_any_program_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEROUTER_API_KEY", API_KEY)

    run_in(tmp_path / "work", tmp_path / "gateway", output=tmp_path / "results")

    assert set(modes(tmp_path / "results").values()) == {"0o755", "0o644"}


@pytest.mark.parametrize(
    ("folder", "file", "inner"),
    [(0o755, "0o600", "0o700"), (0o777, "0o600", "0o700"), (0o2750, "0o640", "0o2750"), (0o2700, "0o600", "0o2700")],
)
def test_a_new_file_gets_what_its_folder_gives_the_group_that_shares_it(
    folder: int, file: str, inner: str, tmp_path: Path
) -> None:
    tmp_path.chmod(folder)
    before = os.umask(0)
    try:
        with LocalJobFiles(tmp_path).create("requests/one") as written:
            written.write(b"row")
        permissions.make_file(tmp_path / "two")
    finally:
        os.umask(before)

    found = modes(tmp_path)
    assert (found["requests"], found["two"]) == (inner, file)
    assert found["requests/one"] == file


def test_a_link_in_the_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for name, target in (("dangling", tmp_path / "nowhere"), ("leading", victim)):
        victim.write_bytes(b"as it was")
        (tmp_path / name).symlink_to(target)

        with pytest.raises(FileExistsError):
            permissions.open_new(tmp_path / name)

    assert victim.read_bytes() == b"as it was"
    assert not (tmp_path / "nowhere").exists()
