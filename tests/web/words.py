"""Texts of the jobs that the tests of the page look at, and how a page is read."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

from orchestrator.api.viewer import Viewer

EVIL: Final = "<script>alert(1)</script>\x1b[31m\u202egnp.exe"
TEXTS: Final = [
    *(f"fine {number}" for number in range(20)),
    *("blocked 20", "busy once 21", "busy 22", "long 23", "silent 24", f"evil {EVIL}", "blocked 26", "Straße ZIP 27"),
    *(f"so so {number}" for number in range(28, 47)),
]


def job_named(viewer: Viewer, name: str, rows: int) -> str:
    [found] = [one.job_id for one in viewer.jobs() if one.name == name and one.rows.total == rows]
    return found


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
