"""The location of a batch's results: `status` returns it, the ledger stores it as text, and `results` takes it.

Files    result files, by their ids
Urls     result files, by their URLs
Inline   in the answer to the GET of the batch itself
Prefix   everything under a location of an object store
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from orchestrator.domain.errors import LedgerError

ALL_RESULTS: Final = "results"  # the name of the result file of a batch that has only one
FAILURES: Final = "error"  # of a file that holds failures only: nothing in it was paid for


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRef:
    """One result file: its name among those of the batch, and its id or URL."""

    name: str
    at: str
    line_count: int | None = None  # its number of lines by the provider's count; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Result files at the provider, by their ids."""

    refs: tuple[ResultRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Result files anywhere, by their URLs."""

    refs: tuple[ResultRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """The results are in the answer to the GET of the batch itself.

    `content` holds results already received. It is not stored in the ledger: without it, `results` asks again.
    """

    content: bytes | None = field(default=None, repr=False, compare=False)
    line_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Everything under a location of an object store."""

    location: str


ResultsAt = Files | Urls | Inline | Prefix


def to_text(where: ResultsAt | None) -> str:
    """Return the text that the ledger stores; "" for None."""
    match where:
        case None:
            return ""
        case Files(refs=refs) | Urls(refs=refs):
            content: dict[str, object] = {"refs": [asdict(ref) for ref in refs]}
        case Inline(line_count=line_count):
            content = {"line_count": line_count}
        case Prefix(location=location):
            content = {"location": location}
    return json.dumps({"at": type(where).__name__} | content, separators=(",", ":"))


def from_text(text: str) -> ResultsAt | None:
    """Return what `to_text` wrote. Raises LedgerError for anything else."""
    if not text:
        return None
    try:
        match json.loads(text):
            case {"at": "Files", "refs": refs}:
                return Files(refs=tuple(ResultRef(**ref) for ref in refs))
            case {"at": "Urls", "refs": refs}:
                return Urls(refs=tuple(ResultRef(**ref) for ref in refs))
            case {"at": "Inline", "line_count": line_count}:
                return Inline(line_count=line_count)
            case {"at": "Prefix", "location": location}:
                return Prefix(location=location)
    except (ValueError, TypeError):
        pass
    raise LedgerError("the place of a batch's results is not readable: it was written by another version")
