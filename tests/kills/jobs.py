"""The small job that is killed, and what must hold of it once it has been seen through.

Rule 1: what is seen through is run again, plainly; where creates are held, a person says of each what the provider has.
Rule 2: the provider is asked, not the ledger: one batch of each chunk, nothing paid for twice, and every row with its
        own answer in the output.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import zstandard

from orchestrator import JobHandle, open_job
from tests.acceptance.command_line import CommandLine, command_line
from tests.acceptance.datasets import check_audit, check_counts, check_exact, marked, read_output, write_job
from tests.acceptance.operator import resolve_all
from tests.gateway_process import ROOT, GatewayProcess, running_gateway
from tests.kills.fork_request import AtCall, AtLine, Ended, ForkRequest
from tests.kills.launcher import ForkServer
from tests.sums import sums

ROWS: Final = 12
CHUNK: Final = 4
UNRESOLVED: Final = 3
CREATE_S: Final = 1.0
RUNS_MAX: Final = 4  # to see a job through: each of them may meet creates that were lost in the one before
# A few rows fail the first time, so that there is a second round.
FAULTS: Final = {"rows": {"fail": {"500": 0.15}, "times": 1}}
POLICY: Final = {"chunk_requests_max": CHUNK, "retry_gather_s": 0.0, "poll_s_min": 0.02, "poll_s_max": 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallJob:
    """A job in a folder of its own: a dozen rows, three chunks, and what has to be sent again."""

    folder: Path
    file: Path
    gateway: GatewayProcess
    cli: CommandLine
    rows: int = ROWS
    disk: Path  # where the work folder lies, and nothing else

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.disk / "work"

    def run(
        self,
        fork_server: ForkServer,
        *,
        at_line: AtLine | None = None,
        at_call: AtCall | None = None,
        deadline_s: float = 60.0,
    ) -> Ended:
        """Run the job as a process, perhaps not to its end."""
        return fork_server.carry_out(
            ForkRequest(
                arguments=["run", str(self.file), "--json", "--work", str(self.work)],
                folder=str(self.folder),
                environment=self.cli.environment,
                said=str(self.folder / "said"),
                at_line=at_line,
                at_call=at_call,
                deadline_s=deadline_s,
            )
        )

    def see_through(self, fork_server: ForkServer) -> Seen:
        """Run the job again, resolve what is held as a person would, and check everything."""
        seen = Seen()
        for _ in range(RUNS_MAX):
            ended = self.run(fork_server)
            if ended.code != UNRESOLVED:
                break
            assert "orchestrator resolve" in ended.said, str(ended)
            said = resolve_all(self.gateway, self.handle())
            assert said, str(ended)
            seen = replace(
                seen,
                held=seen.held + len(said),
                adopted=seen.adopted + sum(batch is not None for batch in said.values()),
            )
        assert ended.code == 0, str(ended)
        return replace(seen, cost_usd=self.check())

    def remove(self) -> None:
        """Take everything away that it has left."""
        shutil.rmtree(self.folder)

    @staticmethod
    def root() -> Path:
        """The program's own root."""
        return ROOT

    def handle(self) -> JobHandle:
        """Return the job."""
        [folder] = [path.parent for path in self.work.glob("*/job.json")]
        return open_job(folder.name, work=self.work)

    def check(self) -> Decimal:
        """Check the output, the counts and the provider's own log; return the job's cost."""
        handle = self.handle()
        result = handle.results()
        check_exact(read_output(result.path), marked(self.rows))
        check_counts(result.status.as_dict())
        status = sums(result.status.as_dict())
        check_audit(handle.job_id, self.work)
        chunks: Any = status["chunks"]
        # A chunk whose rows all fail is sent again as a chunk of the same requests: that is two files of one digest.
        files = Counter(_digest(path) for path in self.work.glob("*/requests/*.jsonl.zst"))
        made = Counter(batch["digest"] for batch in self.gateway.batches() if batch["digest"] in files)
        assert made <= files, (made, files)
        assert made.total() == sum(chunks.values()), (made, chunks)
        return result.cost_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a job came to its end."""

    held: int = 0
    adopted: int = 0  # of the held: the provider had the batch
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A gateway, and a place for jobs against it."""

    folder: Path
    gateway: GatewayProcess

    def job(
        self, name: str, *, rows: int = ROWS, shard_rows: int = ROWS, disk: Path | None = None, **tables: Any
    ) -> SmallJob:
        """Make a job that is like no other: its rows have ids of their own. It has one output part for each shard."""
        folder = self.folder / name
        disk = disk or folder / "disk"
        disk.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        dataset = folder / "rows.parquet"
        pq.write_table(marked(rows), dataset, row_group_size=shard_rows)
        tables["policy"] = POLICY | tables.get("policy", {})
        request = {"prompt": f"{{text}} for {name}"}
        provider = {"create_s_max": CREATE_S, "poll_s_min": 0.02, "poll_s_max": 0.1} | tables.pop("provider", {})
        file = write_job(folder / "job.toml", dataset, self.gateway.url, request=request, provider=provider, **tables)
        cli = command_line(folder, ORCHESTRATOR_SHARD_ROWS=str(shard_rows))
        return SmallJob(folder=folder, file=file, gateway=self.gateway, cli=cli, rows=rows, disk=disk)

    def check_bill(self) -> dict[str, Any]:
        """Check that nobody paid twice for anything; return the bill."""
        bill = self.gateway.bill()
        assert bill["paid_twice"] == 0, bill["examples"]
        assert bill["same_custom_id"] == 0
        return bill


@contextmanager
def a_workspace(folder: Path) -> Iterator[Workspace]:
    """Start a gateway whose batches end at once and some of whose rows fail once."""
    with running_gateway(folder / "gateway", "--duration-s", "0") as gateway:
        gateway.set_faults(FAULTS)
        yield Workspace(folder=folder, gateway=gateway)


def _digest(path: Path) -> str:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as content:
        lines = content.read().splitlines()
    return hashlib.sha256(b'{"requests":[' + b",".join(lines) + b"]}").hexdigest()
