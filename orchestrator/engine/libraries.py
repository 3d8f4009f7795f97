"""Which modules are libraries, and their versions: of a row function, only what is the user's own is followed."""

from __future__ import annotations

import builtins
import functools
import sys
from importlib import metadata
from pathlib import Path

from orchestrator.storage.work_folder import SITE_FOLDERS


def is_library(top: str) -> bool:
    """Whether a top-level module is a library: of Python, of this program, or installed beside them."""
    if top in sys.stdlib_module_names or top in (builtins.__name__, __name__.partition(".")[0]):
        return True
    module = sys.modules.get(top)
    if module is None or top == "__main__":
        return False
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(map(_is_in_site, places))


@functools.cache
def _is_in_site(place: str) -> bool:
    return not SITE_FOLDERS.isdisjoint(Path(place).parts)


@functools.cache
def version_of(top: str) -> str:
    """Return the version of a library; "" where none is known, and for a part of Python."""
    if top in sys.stdlib_module_names:
        return ""
    for name in (top, *metadata.packages_distributions().get(top, ())):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return str(getattr(sys.modules.get(top), "__version__", ""))
