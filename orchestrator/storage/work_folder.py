"""Finds the work folder as git finds `.git`: from a job file's or script's folder upward, else in that folder.

So a job is the same run from whatever folder it is started.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

from orchestrator.storage.location import is_url, locate

SITE_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})
PACKAGE: Final = Path(__file__).parent.parent


def find_work(name: str, start: Path) -> str:
    """Return the location of the folder `name`, in `start` or the nearest folder above that has it; else in `start`.

    A folder of another user counts as none: whoever may write above could have jobs run on a ledger of theirs.
    """
    if is_url(name) or Path(name).expanduser().is_absolute() or name.startswith("~"):
        return locate(name)
    start = start.resolve()  # the folders above `../jobs` are not the current one
    for folder in (start, *start.parents):
        if _is_mine(folder / name):
            return locate(folder / name)
    return locate(start / name)


def program_folder() -> Path:
    """Return the folder of the script that is running; the current folder where a command or a notebook is."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script:
        return Path.cwd()
    folder = Path(script).absolute().parent
    # pipx and uv link to a command from another folder, and one may be typed as ../venv/bin/orchestrator.
    real = Path(script).resolve().parent
    commands = (Path(sysconfig.get_path("scripts")).resolve(), Path(sys.executable).parent.resolve())
    is_command = real in commands or not SITE_FOLDERS.isdisjoint(real.parts) or real.is_relative_to(PACKAGE.resolve())
    return folder if not is_command and folder.is_dir() and os.access(folder, os.W_OK) else Path.cwd()


def _is_mine(folder: Path) -> bool:
    try:
        return folder.is_dir() and folder.stat().st_uid == os.getuid()
    except OSError:
        return False
