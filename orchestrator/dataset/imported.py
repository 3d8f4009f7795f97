"""Datasets that are read once into the work folder, and from there as any other.

Files of a web server (`https://`), files of a hub (`hf://`), and workbooks. They may change, vanish or need a login, so
a job keeps its own copy, named by its content: equal content is the same job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from orchestrator.dataset.excel import is_workbook, read_sheet
from orchestrator.dataset.in_memory import keep_files, keep_table
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.storage.download import download, file_name, is_web

HUB: Final = "hf"
BLOCK_BYTES: Final = 8 * 2**20
Keep = Callable[[Path], Path]  # given a folder, returns what was put into it


def importer(location: str, options: ReadOptions) -> Keep | None:
    """Return what keeps a dataset in a folder; None for one that is read where it is. Raises ConfigError."""
    if is_web(location):
        files: Iterable[tuple[str, Iterable[bytes]]] = [(file_name(location) or "rows", download(location))]
        return partial(_keep, files, options)
    if location.startswith(f"{HUB}://"):
        return partial(_keep, _hub_files(location), options)
    if is_workbook(location):
        return partial(keep_table, read_sheet(location, options.sheet))
    return None


def _keep(files: Iterable[tuple[str, Iterable[bytes]]], options: ReadOptions, folder: Path) -> Path:
    kept = keep_files(files, folder)
    return keep_table(read_sheet(str(kept), options.sheet), folder) if is_workbook(kept.name) else kept


def _hub_files(location: str) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield (name, content) of a file, a folder or a glob of Hugging Face's hub."""
    try:
        import fsspec  # type: ignore[import-untyped]

        hub = fsspec.filesystem(HUB)
    except (ImportError, ValueError):
        raise ConfigError(
            f"{location} needs one package more: pip install 'batch-orchestrator[hf]'; or download it, as in "
            "`hf download --repo-type dataset`, and give the folder"
        ) from None
    place = location.removeprefix(f"{HUB}://")
    with _hub_errors(location):
        paths = sorted(hub.glob(place) if any(mark in place for mark in "*?[") else hub.find(place))
    if not paths:
        raise DatasetError(f"{location} holds no files; it must be hf://datasets/<owner>/<name>/<path>, or a glob")
    root = PurePosixPath(paths[0]).parent
    while not all(PurePosixPath(path).is_relative_to(root) for path in paths):
        root = root.parent
    for path in paths:
        yield str(PurePosixPath(path).relative_to(root)), _blocks(hub, path, location)


def _blocks(hub: Any, path: str, location: str) -> Iterator[bytes]:
    with _hub_errors(location), hub.open(path, "rb") as source:
        while block := source.read(BLOCK_BYTES):
            yield block


@contextmanager
def _hub_errors(location: str) -> Iterator[None]:
    """Convert what the hub's client raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a file system of fsspec raises whatever its own HTTP client does
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = f"status {status}" if status else type(error).__name__
        if isinstance(error, FileNotFoundError):
            why = "it does not exist"
        # from None: the client's message may hold signed URLs.
        raise DatasetError(
            f"{location} cannot be read: {why}. Check the path, the network, and the login where it is private "
            "(`hf auth login`, or HF_TOKEN)"
        ) from None
