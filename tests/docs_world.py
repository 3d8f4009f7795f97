"""A folder in which the commands and snippets of the docs are run: tables, job files, a gateway, and its key.

Rule: nothing is sent anywhere else. The providers' tables have the gateway's address, and the waits are short.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import settings
from orchestrator.api import commands
from orchestrator.api.exit_codes import exit_code_of
from orchestrator.cli import main
from tests.gateway_process import API_KEY, GatewayProcess
from tests.servers.hurry import hurry

ROOT: Final = Path(__file__).resolve().parent.parent
ROWS: Final = 20  # the docs show row 17
JOB: Final = """[job]
name = "{name}"
dataset = "reviews.csv"

[request]
model = "openai/gpt-6-luna-batch"
prompt = "One word for the mood of: {{text}}"
max_tokens = 8

[policy]
canary_rows = 0
"""


@dataclass(slots=True)
class World:
    """The folder; it is the current one, and the providers are the gateway, for as long as the test runs."""

    folder: Path
    gateway: GatewayProcess
    monkeypatch: pytest.MonkeyPatch
    words: dict[str, str] = field(default_factory=dict)  # of the docs: what stands for them here

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.gateway.set_faults({})
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.syspath_prepend(str(self.folder))
        self.monkeypatch.setattr(settings, "CHECKOUT", self._config())
        for name in ("ONEROUTER_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_KEY"):
            self.monkeypatch.setenv(name, API_KEY)
        hurry(self.monkeypatch.setattr)
        self._write_tables()

    def _config(self) -> Path:
        """Write a configuration whose providers are the gateway."""
        config = self.folder / "config"
        if not config.exists():
            config.mkdir()
            for path in (ROOT / "config").glob("*.*"):
                shutil.copy(path, config)
            table = (config / "providers.toml").read_text(encoding="utf-8")
            table = re.sub(r'^base_url = "[^"]*"', f'base_url = "{self.gateway.url}"', table, flags=re.MULTILINE)
            table = re.sub(r"^poll_s_min = \d+", "poll_s_min = 0.05", table, flags=re.MULTILINE)
            table = re.sub(r"^poll_s_max = \d+", "poll_s_max = 1.0", table, flags=re.MULTILINE)
            (config / "providers.toml").write_text(table, encoding="utf-8")
        return config

    def _write_tables(self) -> None:
        moods = ["Boils fast, but the lid broke after a week.", "Does what it should.", "Lovely light."]
        frame = pd.DataFrame({"id": range(ROWS), "title": "A review", "text": [moods[n % 3] for n in range(ROWS)]})
        (self.folder / "data/reviews").mkdir(parents=True, exist_ok=True)
        frame.to_csv("reviews.csv", index=False)
        for name in ("reviews.parquet", "data/reviews.parquet", "data/reviews/one.parquet"):
            frame.to_parquet(name)
        frame[["id", "text"]].to_json("tickets.jsonl", orient="records", lines=True)
        shutil.copytree(ROOT / "examples/data", self.folder / "examples/data", dirs_exist_ok=True)
        for name in ("reviews", "mood", "moods"):
            (self.folder / f"{name}.toml").write_text(JOB.format(name=name), encoding="utf-8")

    def write_jobs(self, pieces: Iterable[str]) -> None:
        """Write a page's job files, each by the name of its job."""
        for text in pieces:
            name = tomllib.loads(text).get("job", {}).get("name", "reviews")
            if not (self.folder / f"{name}.toml").exists():
                (self.folder / f"{name}.toml").write_text(self.spoken(text), encoding="utf-8")

    def run(self, line: str) -> int:
        """Run a line of a shell block, `orchestrator …`, and return its exit code."""
        words = shlex.split(self.spoken(line), comments=True)
        try:
            main.app.main(words[1:], prog_name="orchestrator", standalone_mode=False)
        except orchestrator.OrchestratorError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return exit_code_of(error)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def spoken(self, line: str) -> str:
        """Return a line with this world's names in place of the page's: ids, chunks, batches, folders, addresses."""
        for word, here in ({"/data/jobs": str(self.folder / ".orchestrator")} | self.words).items():
            line = line.replace(word, here)
        line = re.sub(r"\bJOB_ID\b", "reviews-00000000", line)
        line = re.sub(r"\b(reviews|mood)-[0-9a-f]{8}\b", lambda found: self.id_of(found[1]), line)
        if re.search(r"\b[0-9a-f]{8}-0-", line):
            line = re.sub(r"\b[0-9a-f]{8}-0-", f"{self.job_id.rpartition('-')[2]}-0-", line)
        line = re.sub(r"\b(JOB|FILE)\b", lambda found: {"JOB": "reviews.toml", "FILE": "file.parquet"}[found[1]], line)
        return line.replace("http://127.0.0.1:8899", self.gateway.base_url).replace('"local"', f'"{API_KEY}"')

    @property
    def job_id(self) -> str:
        """The id of `reviews.toml`."""
        return self.id_of("reviews")

    def id_of(self, name: str) -> str:
        """The id of a job file's job."""
        return commands.identify(orchestrator.read_job(Path(f"{name}.toml")))

    def handle(self) -> orchestrator.JobHandle:
        """Return the handle of its job."""
        return orchestrator.open_job(self.job_id, work=str(self.folder / ".orchestrator"))

    # What a job has been through before a command makes sense.

    def ran(self) -> None:
        """Its jobs have ended; their answers are cut off at eight words."""
        if not (self.folder / "ran").exists():
            for name in ("reviews", "mood"):
                assert self.run(f"orchestrator run {name}.toml") == 0
            (self.folder / "ran").touch()

    def typed(self) -> None:
        """A job with typed answers has ended."""
        text = JOB.format(name="moods").replace("= 8", "= 800")
        (self.folder / "moods.toml").write_text(f'{text}\n[response]\nmood = {{ enum = ["good", "mixed"] }}\n')
        assert self.run("orchestrator run moods.toml") == 0

    def keyed(self) -> None:
        """Its job has ended, with rows whose batches expired; rows have keys, and a number."""
        frame = pd.read_csv("reviews.csv").assign(score=0.1)
        frame.assign(id=[f"A-{n}" for n in range(ROWS)]).to_csv("reviews.csv", index=False)
        with Path("reviews.toml").open("a", encoding="utf-8") as file:
            file.write('\n[dataset]\nkey = "id"\ntypes = { score = "float64" }\n')
        Path("more-keys.txt").write_text("A-3\n", encoding="utf-8")
        self._run_with({"batch": {"expire": 1.0, "done_share": 0.5}}, code=4)

    def paused(self) -> None:
        """Its job is in the ledger, and paused."""
        self.submitted()
        assert self.run("orchestrator pause reviews.toml") == 0

    def failed(self) -> None:
        """Its job has ended with failed rows."""
        self._run_with({"rows": {"fail": {"400": 2}, "times": 0}}, code=4)

    def unreadable(self) -> None:
        """Its job has ended with a row that could not be read."""
        self._run_with({"lines": {"not_json": 1, "times": 0}}, code=4)

    def waits(self) -> None:
        """Its job waits for a decision."""
        self._run_with({"create": {"shape": "unknown"}}, code=3)

    def unresolved(self) -> None:
        """The answer to its create was lost; the provider has the batch."""
        self._run_with({"create": {"lost": 1}}, code=3)
        [chunk] = self.handle().unresolved()
        self.words |= {"c00000-00002": chunk.chunk, self._shown_batch(): self.gateway.batches()[-1]["id"]}

    def submitted(self) -> None:
        """Its job is in the ledger, and nobody works on it."""
        assert self.run("orchestrator submit reviews.toml") == 0

    def lost(self) -> None:
        """Its job has ended, and the ledger is lost."""
        self.ran()
        for path in (self.folder / ".orchestrator").glob("ledger.db*"):
            path.unlink()

    def _run_with(self, faults: Mapping[str, Any], *, code: int) -> None:
        self.gateway.set_faults(faults)
        assert self.run("orchestrator run reviews.toml") == code
        self.gateway.set_faults({})

    @staticmethod
    def _shown_batch() -> str:
        return "batch_2e0edb42-9438-406c-b616-2f76c9fc37e3"
