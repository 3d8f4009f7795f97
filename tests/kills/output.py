"""What anybody sees who looks at the place of the output, while it is being written and after any death of the writer.

Rule 1: every file that a Parquet reader would take is whole: it opens, and holds exactly the rows of its shard, each
        with its own answer.
Rule 2: whoever goes by the manifest, or by `_SUCCESS`, sees none or all.

    python -m tests.kills.output FOLDER SHARD_ROWS ROWS STOP      look, again and again, until the file STOP is there
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.dataset as ds

from tests.acceptance.datasets import mark

LOOK_EVERY_S: Final = 0.02
SUCCESS: Final = "_SUCCESS"


@dataclass(slots=True, kw_only=True)
class Sight:
    """What was seen so far."""

    looks: int = 0
    files: int = 0
    looks_at_some: int = 0  # with files, and not all of them
    manifests: int = 0
    partial: int = 0
    wrong: int = 0
    said: str = ""  # of the first thing that was not as it must be

    def note(self, kind: str, words: str) -> None:
        """Count what must not be."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.said = self.said or words


def look(folder: Path, *, shard_rows: int, rows: int, sight: Sight) -> None:
    """Look once, as a program does that knows nothing but the place."""
    sight.looks += 1
    is_sealed = (folder / SUCCESS).exists()
    manifest = _read(folder.with_name(f"{folder.name}.manifest.json"))
    assert not is_sealed or manifest is not None or not folder.exists(), "sealed, and no manifest"
    found = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith((".", "_")))
    if manifest is not None:
        sight.manifests += 1
        _check_all(folder, manifest, rows, sight)
    sight.looks_at_some += 0 < len(found) < -(-rows // shard_rows)
    if not found:
        return
    try:
        dataset = ds.dataset(folder, format="parquet")  # what it leaves out by itself is not looked at here either
    except (OSError, ValueError) as error:
        sight.note("partial", f"{folder}: {error}")
        return
    for fragment in dataset.get_fragments():
        sight.files += 1
        try:
            table = fragment.to_table(schema=dataset.schema)
        except (OSError, ValueError) as error:
            sight.note("partial", f"{fragment.path}: {error}")
            continue
        _check_part(fragment.path, table, shard_rows, rows, sight)


def _check_part(path: str, table: Any, shard_rows: int, rows: int, sight: Sight) -> None:
    numbers = table["number"].to_pylist()
    shard_no = int(Path(path).stem.split("-")[1])
    wanted = list(range(shard_no * shard_rows, min(rows, (shard_no + 1) * shard_rows)))
    if numbers != wanted:
        sight.note("partial", f"{path}: rows {numbers[:3]} … of {wanted[:3]} …, {len(numbers)} of {len(wanted)}")
    for number, said in zip(numbers, table["llm_response"].to_pylist(), strict=True):
        if said is None or mark(number) not in said:
            sight.note("wrong", f"{path}: row {number} has the answer {said}")


def _check_all(folder: Path, manifest: dict[str, Any], rows: int, sight: Sight) -> None:
    sizes = {part["file"]: part["bytes"] for part in manifest["parts"]}
    there = {path.name: path.stat().st_size for path in folder.glob("*.parquet") if path.name in sizes}
    if manifest["rows"] != rows or there != sizes:
        sight.note("partial", f"the manifest speaks of {sizes}, there is {there}")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return found


def main() -> None:
    """Look at every output below a folder until told to stop, and say what was seen."""
    root, shard_rows, rows, stop = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    sight = Sight()
    while not stop.exists():
        for folder in sorted(root.glob("*/work/*/output")):
            look(folder, shard_rows=shard_rows, rows=rows, sight=sight)
        time.sleep(LOOK_EVERY_S)
    sys.stdout.write(json.dumps(asdict(sight)) + "\n")


if __name__ == "__main__":
    main()
