"""What is mutated, and by which tests each module's mutants must be caught: its own first, then its neighbours'.

Rule: only tests that run in this process are named here: the programs that a test starts know nothing of a mutant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EQUIVALENT: Final = Path(__file__).parent / "equivalent.toml"
FOLDERS: Final = ("orchestrator/domain", "orchestrator/batches")
DEFAULTS: Final = "tests/domain/test_defaults.py"
# What is asked first, beside the file of the module's name; and the neighbours, where that does not say all of it.
FIRST: Final = {"orchestrator/domain": (DEFAULTS,), "orchestrator/batches": ()}
WIDER: Final = {
    "orchestrator/domain": ("tests/domain", "tests/batches"),
    "orchestrator/batches": ("tests/batches",),
}


def modules() -> list[str]:
    """Return the modules that are mutated, from the root of the tree."""
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py")))
    return [path.relative_to(ROOT).as_posix() for path in paths]


def stages(path: str) -> tuple[tuple[str, ...], ...]:
    """Return the tests of a module, in the order in which they are asked."""
    folder, _, name = path.rpartition("/")
    own = (f"tests/{folder.rpartition('/')[2]}/test_{name}", *FIRST[folder])
    first = tuple(one for one in own if (ROOT / one).exists())
    return (first, WIDER[folder]) if first else (WIDER[folder],)


def asked(path: str, *, own: bool) -> tuple[tuple[str, ...], ...]:
    """Return the stages that are run; with `own` the first of them only."""
    return stages(path)[:1] if own else stages(path)
