"""Files that a column of paths names: below one folder, on this machine or in an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.domain.errors import DatasetError, StorageError
from orchestrator.storage.arrow_fs import filesystem_of
from orchestrator.storage.location import is_url, join

FILE_BYTES_MAX: Final = 64 * 2**20


def folder_of(dataset: str) -> str:
    """Return the folder of a dataset's files: of a file its parent, of a glob what stands before it.

    In an object store a name with a suffix is a file's; nothing is asked there.
    """
    head, mark, _ = re.split(r"([*?\[].*)", dataset, maxsplit=1) if re.search(r"[*?\[]", dataset) else (dataset, "", "")
    name = head.rpartition("/")[2]
    is_folder = "." not in name if is_url(dataset) else os.path.isdir(head)  # noqa: PTH112 - of a text
    return head if is_folder and not mark else head.rpartition("/")[0] or "/"


def file_reader(folder: str, refusal: type[ValueError]) -> Callable[[str], bytes]:
    """Return what reads a file below a folder. It raises `refusal` for a path that leads elsewhere, or to no file.

    A disk or a store that does not answer is a DatasetError: that is not the row's fault.
    Messages never hold a path: it is a value of a row.
    """

    def read(path: str) -> bytes:
        relative = path.removeprefix(f"{folder.rstrip('/')}/").removeprefix("./")
        if relative.startswith("/") or "://" in relative or ".." in relative.split("/") or "\0" in relative:
            raise refusal(f"names a file that is not below {folder}")
        place = join(folder, relative)
        if not is_url(folder) and not os.path.realpath(place).startswith(f"{os.path.realpath(folder).rstrip('/')}/"):
            raise refusal(f"names a file that is not below {folder}")
        try:
            store, key = filesystem_of(place)
            info = store.get_file_info(key)
            if info.type != pafs.FileType.File:
                raise refusal(f"names a file that is not in {folder} (image_folder under [dataset] names another)")
            if info.size > FILE_BYTES_MAX:
                raise refusal(f"names a file of more than {FILE_BYTES_MAX >> 20} MiB")
            with store.open_input_file(key) as file:
                content: bytes = file.read()
                return content
        except (PermissionError, UnicodeError, FileNotFoundError):
            raise refusal(f"names a file that cannot be read in {folder}") from None
        except (OSError, StorageError, pa.ArrowException) as error:
            raise DatasetError(f"a file of images in {folder} cannot be read ({type(error).__name__})") from None

    return read
