"""No name, from wherever it comes, leads out of the work folder, to another row, or to another path (S9)."""

from __future__ import annotations

import posixpath
import string
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator import Job
from orchestrator.domain import custom_id
from orchestrator.domain.errors import BadRequest, ConfigError, StorageError
from orchestrator.providers.http.exchange import path_of
from orchestrator.storage.local import LocalJobFiles
from orchestrator.storage.names import parts_of

SAFE: Final = frozenset(string.ascii_lowercase + string.digits + "_-")
# Pieces that have led programs astray: up, root, nothing, devices, dots that only look like dots, lengths.
PIECES: Final = st.sampled_from(
    [
        "..",
        ".",
        "",
        "/",
        "\\",
        "\0",
        "~",
        "CON",
        "NUL.txt",
        "\uff0e\uff0e",
        "\u2024\u2024",
        "%2e%2e",
        "a",
        "raw",
        " ",
        "\n",
        "-rf",
        "x" * 300,
    ]
)
NAMES: Final = st.lists(st.one_of(PIECES, st.text(max_size=12)), min_size=1, max_size=6).map("/".join)


@given(NAMES)
@example("../outside")
@example("raw/../../outside")
@example("/etc/passwd")
@example("raw/\0")
def test_a_name_of_a_file_stays_in_the_folder_or_is_refused(name: str) -> None:
    """Any text as a name: either our error, or a file below the root, and nothing beside it."""
    with TemporaryDirectory() as place:
        root = Path(place) / "root"
        root.mkdir()
        job_files = LocalJobFiles(root)
        try:
            with job_files.create(name) as file:
                file.write(b"content")
        except StorageError:
            pass
        else:
            [path] = [path for path in root.rglob("*") if path.is_file()]
            assert path.read_bytes() == b"content"
            assert ".." not in path.relative_to(root).parts

        assert [path.name for path in Path(place).iterdir()] == ["root"]


@given(NAMES)
def test_a_key_of_an_object_store_stays_below_its_prefix(name: str) -> None:
    """Both kinds of store take their names apart by the same function."""
    try:
        parts = parts_of(name)
    except StorageError:
        return

    assert parts
    assert not {"..", ".", "", "/"} & set(parts)
    assert not any("\0" in part for part in parts)


@given(st.one_of(st.text(max_size=80), PIECES))
@example("..")
@example("a/b")
@example("-x")
@example("Job")
def test_a_job_s_name_is_a_folder_s_name_and_nothing_else(name: str) -> None:
    given_job: dict[str, Any] = {"dataset": "rows.csv", "model": "m", "prompt": "{text}"}
    try:
        job = Job(name=name, **given_job)
    except ConfigError:
        return

    assert set(job.name) <= SAFE
    assert job.name[0] not in "-_"
    assert len(job.name) <= 64


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[0-9a-f-]{1,40}", fullmatch=True)))
def test_a_result_s_custom_id_is_one_of_ours_or_a_stranger_s(text: str) -> None:
    """It names a row of this job or nothing: no path is ever made of it."""
    key = custom_id.parse(text, "0123abcd")

    if key is not None:
        assert f"{custom_id.prefix('0123abcd', key[0])}{key[1]:x}" == text


@given(st.text(max_size=60))
@example("../../admin")
@example("..")
@example("a?b=c")
@example("a%2f..")
@example("a/b")
@example("%2e%2e/x")
@example("\u202eid")
def test_a_batch_id_is_one_part_of_a_path(text: str) -> None:
    """It is encoded whole, and even a server that decodes it before it takes the path apart stays below the folder."""
    try:
        path = path_of("batches", text)
    except BadRequest:
        return

    assert set(path.removeprefix("/batches/")) <= set(string.ascii_letters + string.digits + "_.-~:%")
    assert unquote(path) == f"/batches/{text}"
    assert posixpath.normpath(f"/v1{unquote(path)}").startswith("/v1/batches/")
    assert text.isprintable()
