"""Canaries: values that must not be found again, and the eyes that look for them in whatever is written down.

Rule: a canary is looked for as it is, and as it looks when somebody has encoded it on the way.
"""

from __future__ import annotations

import base64
import contextlib
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg
import redis
from psycopg import sql

ROW_FOLDERS: Final = frozenset(
    {"requests", "raw", "parts", "quarantine", "output", "inputs", "refused", "provider_messages"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A canary that was found, and where."""

    canary: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """Values by their names; `rows` are those that may stand in the files made for rows."""

    secrets: Mapping[str, str]
    rows: Mapping[str, str]

    def in_bytes(self, content: bytes, place: str, *, may_hold_rows: bool = False) -> list[Leak]:
        """Return what of them stands in these bytes."""
        sought = dict(self.secrets) if may_hold_rows else {**self.secrets, **self.rows}
        return [
            Leak(canary=name, place=place)
            for name, value in sought.items()
            if any(form in content for form in forms(value))
        ]

    def in_folder(self, folder: Path) -> list[Leak]:
        """Look into every file below a folder, and at its name."""
        found = []
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            found += self.in_bytes(inside.as_posix().encode(), f"name of {inside}")
            if path.is_file():
                holds_rows = not ROW_FOLDERS.isdisjoint(part.partition("-revision-")[0] for part in inside.parts)
                found += self.in_bytes(path.read_bytes(), str(inside), may_hold_rows=holds_rows)
        return found

    def in_broker(self, client: redis.Redis) -> list[Leak]:
        """Look at every key of every database, as DUMP gives it, and at what it holds."""
        found = []
        for key in client.scan_iter(count=1_000):
            with contextlib.suppress(redis.ResponseError):
                found += self.in_bytes(client.dump(key) or b"", f"broker: {key!r}")
            if client.type(key) == b"list":
                content = b"\n".join(client.lrange(key, 0, -1))
                found += self.in_bytes(content, f"broker: {key!r}")
        return found

    def in_database(self, url: str) -> list[Leak]:
        """Look at every row of every table of a PostgreSQL database."""
        found = []
        listing = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        with psycopg.connect(url) as connection:
            names = [str(name) for (name,) in connection.execute(listing)]
            for name in names:
                copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(name))
                with connection.cursor().copy(copy) as rows:
                    found += self.in_bytes(b"".join(map(bytes, rows)), f"ledger: {name}")
        assert len(names) > 5
        return found

    def in_command_lines(self) -> list[Leak]:
        """Look at the command line of every process of this machine, but the gateway's, which tests start so."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "gateway" not in words:
                    found += self.in_bytes("\0".join(words).encode(), f"command line of {words[:4]}")
        return found


def forms(value: str) -> Iterator[bytes]:
    """Yield a value as it is and as it looks in base64 (wherever it begins there), in figures, in a URL, in UTF-16."""
    plain = value.encode()
    yield plain
    yield plain.hex().encode()
    yield value.encode("utf-16-le")
    yield urllib.parse.quote(value, safe="").encode()
    for before in range(3):
        coded = base64.b64encode(bytes(before) + plain)
        yield coded[(4 * before + 2) // 3 + 1 : -4]
