"""`orchestrator audit`: a job as it should be shows no difference, and each kind of damage is named."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

import orchestrator
from orchestrator import Audit, JobUnresolved
from orchestrator.audit.chunk_files import sums_of
from orchestrator.audit.findings import Waste
from orchestrator.domain.policy import Price
from orchestrator.domain.reconcile import Answer
from orchestrator.job_files.result_parts import write_part
from tests.acceptance.command_line import CommandLine, kill, wait_until
from tests.acceptance.datasets import MODEL, QUICK, marked, write_dataset, write_job
from tests.fakes.job_files import MemoryJobFiles
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway
from tests.tiers import examples

ROWS: Final = 90
TROUBLE: Final = {  # of each batch the first row fails for now, the second for good, the next ones' lines are damaged;
    "create": {"refuse": {"429": 1}},  # never so many that the job stops for a decision, as a share of them may
    "batch": {"expire": 1, "done_share": 0.8},
    "rows": {"fail": {"500": 1, "400": 1}},
    "lines": {"missing": 3, "not_json": 4, "foreign_custom_id": 5, "duplicate": 8},
}
PRICES: Final = {"prices": {MODEL: {"input_usd": "1.00", "output_usd": "4.00"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A finished job's work folder, to be damaged."""

    work: Path
    job_id: str

    @property
    def folder(self) -> Path:
        """The job's own files."""
        return self.work / self.job_id

    def first(self, pattern: str) -> Path:
        """Return the first of these files."""
        return min(self.folder.glob(pattern))

    def sql(self, statement: str) -> None:
        """Change the ledger behind everybody's back."""
        with sqlite3.connect(self.work / "ledger.db") as connection:
            assert connection.execute(statement).rowcount > 0
        connection.close()

    def audit(self, *, deep: bool = False) -> Audit:
        """Audit the job."""
        return orchestrator.audit(self.job_id, work=self.work, deep=deep)


def run(gateway: GatewayProcess, work: Path, rows: int = ROWS, **policy: Any) -> orchestrator.Result:
    """Run a job of a few chunks to its end."""
    return orchestrator.run(
        marked(rows),
        prompt="{text}",
        model=MODEL,
        work=work,
        provider_options={"base_url": gateway.url, **QUICK, **PRICES},
        policy={"chunk_requests_max": 20, "retry_gather_s": 0.2, **policy},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A job that ended after some trouble; never damaged itself."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ONEROUTER_API_KEY", API_KEY)
        with running_gateway(folder / "gateway", "--duration-s", "0") as gateway:
            gateway.set_faults(TROUBLE)
            result = run(gateway, folder / "work")
            assert str(result.cost_usd) == gateway.bill()["fees_usd"]
        yield Copy(work=folder / "work", job_id=result.job_id)


@pytest.fixture
def copy(whole: Copy, tmp_path: Path) -> Copy:
    """A copy of that job's work folder."""
    shutil.copytree(whole.work, tmp_path / "work")
    return Copy(work=tmp_path / "work", job_id=whole.job_id)


@pytest.mark.parametrize("deep", [False, True])
def test_a_job_that_met_trouble_and_ended_shows_no_difference(whole: Copy, deep: bool) -> None:
    """Rows, creates and bill, counted twice: by the ledger, and by what lies in the folder."""
    found = whole.audit(deep=deep)

    assert found.differences == []
    assert found.is_clean
    assert found.ledger == found.archive
    assert found.ledger.answers + found.ledger.unanswered > ROWS
    assert found.ledger.cost_usd > 0
    assert found.waste[Waste.REPEATED].count > 0
    assert found.waste[Waste.UNPLACED].count > 0
    assert not found.under_way


def test_an_audit_needs_no_key_and_writes_nothing(copy: Copy) -> None:
    """It may be run by whoever may read."""
    files = sorted(path for path in copy.folder.rglob("*"))
    before = {path: path.read_bytes() for path in files if path.is_file()}

    assert copy.audit(deep=True).is_clean

    assert sorted(path for path in copy.folder.rglob("*")) == files
    assert {path: path.read_bytes() for path in before} == before


def flip(path: Path, chance: random.Random | None = None) -> None:
    """Turn one bit of a file around."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if chance is None else chance.randrange(len(content))
    content[place] ^= 1 << (0 if chance is None else chance.randrange(8))
    path.write_bytes(content)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Write a Parquet file anew, with something changed."""
    pq.write_table(change(pq.read_table(path)), path)


def other_answers(column: str) -> Callable[[Any], Any]:
    """Return what gives each row the answer of its neighbour."""

    def shuffled(table: Any) -> Any:
        position = table.column_names.index(column)
        values = table[column].to_pylist()
        field = table.schema.field(column)
        return table.set_column(position, field, pa.array(values[1:] + values[:1], field.type))

    return shuffled


def seal_again(folder: Path) -> None:
    """Make the manifest fit the files again, as somebody would who wants to hide a change."""
    manifest = json.loads((folder.with_name("output.manifest.json")).read_text())
    for part in manifest["parts"]:
        content = (folder / part["file"]).read_bytes()
        part |= {"bytes": len(content), "xxh3_128": xxhash.xxh3_128_hexdigest(content)}
    (folder.with_name("output.manifest.json")).write_text(json.dumps(manifest))


def forget_a_create(copy: Copy) -> None:
    """Take a create, and what it gave, out of the ledger."""
    copy.sql("delete from attempts where rowid = (select max(rowid) from attempts where state = 'created')")


def hide_a_change(copy: Copy) -> None:
    """Change answers in the output, and seal it again."""
    rewrite(copy.first("output/part-*.parquet"), other_answers("llm_response"))
    seal_again(copy.folder / "output")


ONE_CHUNK: Final = "where rowid = (select min(rowid) from chunks where state = 'collected')"
QUICKLY: Final[dict[str, tuple[Callable[[Copy], None], str]]] = {
    "a part is gone": (lambda copy: copy.first("parts/*").unlink(), "parsed results"),
    "a part is cut": (lambda copy: copy.first("parts/*").write_bytes(b"PAR1"), "parsed results"),
    "a raw file is gone": (lambda copy: copy.first("raw/*").unlink(), "raw results"),
    "a raw file too many": (
        lambda copy: shutil.copy(copy.first("raw/*"), copy.folder / "raw/c00009-00009.a1.results.jsonl.zst"),
        "file in raw",
    ),
    "a request file is gone": (lambda copy: copy.first("requests/c*").unlink(), "file of requests"),
    "a journal file is gone": (lambda copy: copy.first("journal/*").unlink(), "journal"),
    "a journal file names another batch": (
        lambda copy: shutil.copy(max(copy.folder.glob("journal/*")), copy.first("journal/*")),
        "batch in the journal",
    ),
    "an intent is gone": (lambda copy: copy.first("intents/*").unlink(), "intent"),
    "a record is gone": (lambda copy: copy.first("collected/*").unlink(), "record of what the batch gave"),
    "a record is damaged": (lambda copy: copy.first("collected/*").write_text("{"), "record of what the batch gave"),
    "an output row is gone": (
        lambda copy: rewrite(copy.first("output/part-*"), lambda table: table.slice(1)),
        "rows in the manifest",
    ),
    "an output part is gone": (lambda copy: copy.first("output/part-*").unlink(), "output part"),
    "the output is not sealed": (lambda copy: (copy.folder / "output/_SUCCESS").unlink(), "output"),
    "the ledger forgot a create": (forget_a_create, "create in the journal"),
    "the ledger counts one more": (
        lambda copy: copy.sql(f"update chunks set succeeded = succeeded + 1 {ONE_CHUNK}"),
        "rows succeeded",
    ),
    "the ledger counts one line less": (
        lambda copy: copy.sql(f"update chunks set lines = lines - 1 {ONE_CHUNK}"),
        "lines, as collected",
    ),
    "the ledger counts a truncated answer more": (
        lambda copy: copy.sql(f"update chunks set truncated_answers = truncated_answers + 1 {ONE_CHUNK}"),
        "truncated answers",
    ),
    "the ledger names another batch": (
        lambda copy: copy.sql(f"update chunks set batch_id = 'batch_other' {ONE_CHUNK}"),
        "batch",
    ),
    "the ledger was charged more": (
        lambda copy: copy.sql("update attempts set cost_usd = cost_usd + 1 where cost_usd > 0"),
        "cost, USD",
    ),
    "a shard has a row more": (
        lambda copy: copy.sql("update shards set row_count = row_count + 1"),
        "rows = refused + rows of its chunks",
    ),
    "a shard has settled too much": (
        lambda copy: copy.sql("update shards set settled_count = settled_count + 1"),
        "rows settled",
    ),
    "a chunk is gone": (
        lambda copy: copy.sql("delete from chunks where id like '%/c00000-00001'"),
        "rows = succeeded + failed + under way",
    ),
    "a dead row has no shard": (
        lambda copy: copy.sql("update chunk_shards set failed = failed + 1"),
        "failed rows, and those by shard",
    ),
}
DEEPLY: Final[dict[str, tuple[Callable[[Copy], None], str]]] = {
    "a bit of a raw file": (lambda copy: flip(copy.first("raw/*")), "digest of raw/"),
    "a bit of a part": (lambda copy: flip(copy.first("parts/*")), "digest of parts/"),
    "a bit of a request file": (lambda copy: flip(copy.first("requests/*")), "requests"),
    "a bit of the output": (lambda copy: flip(copy.first("output/part-*")), "digest in the manifest"),
    "answers of a part": (
        lambda copy: rewrite(copy.first("parts/*"), other_answers("text")),
        "answer, parsed again",
    ),
    "answers of the output, sealed again": (hide_a_change, "column llm_response"),
}


@pytest.mark.parametrize("damage", QUICKLY)
def test_damage_is_named_by_a_quick_look(damage: str, copy: Copy) -> None:
    """What is missing, too many, or counted otherwise."""
    do_damage, what = QUICKLY[damage]
    do_damage(copy)

    found = copy.audit()

    assert what in [one.what for one in found.differences]
    assert not found.is_clean


@pytest.mark.parametrize("damage", DEEPLY)
def test_damage_inside_of_files_is_named_by_a_deep_look(damage: str, copy: Copy) -> None:
    """What only shows when every byte is read."""
    do_damage, what = DEEPLY[damage]
    do_damage(copy)

    found = copy.audit(deep=True)

    assert [one for one in found.differences if what in one.what], found.differences


@pytest.mark.slow
def test_one_bit_anywhere_in_what_was_paid_for_is_found(copy: Copy) -> None:
    """Twenty-five bits (ten in the quick tier), chosen by seed, one at a time, in raw results, parts and output."""
    chance = random.Random(11)
    files = sorted(path for name in ("raw", "parts", "output") for path in copy.folder.glob(f"{name}/*[a-z]"))
    files = [path for path in files if path.suffix in (".parquet", ".zst")]
    missed = []
    for _ in range(examples(25)):
        path = chance.choice(files)
        content = path.read_bytes()
        flip(path, chance)
        if copy.audit(deep=True).is_clean:
            missed.append(path.name)
        path.write_bytes(content)

    assert missed == []
    assert copy.audit(deep=True).is_clean


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_what_is_under_way_is_no_difference(cli: CommandLine, tmp_path: Path) -> None:
    """Beside a process at work: batches in flight and rows not planned yet are named as that."""
    dataset = write_dataset(tmp_path / "rows.parquet", 60)
    with running_gateway(tmp_path / "gateway", "--duration-s", "3600") as gateway:
        job = write_job(tmp_path / "busy.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})
        process = cli.start("run", job)
        try:
            wait_until(lambda: len(gateway.batches()) == 3, "three batches")
            wait_until(lambda: cli.status(job)["chunks"].get("submitted") == 3, "three answers")

            shown = cli.run("audit", job, "--deep", "--json")
        finally:
            kill(process)

    assert shown.code == 0, shown
    found = json.loads(shown.out)
    assert found["clean"]
    assert found["under_way"]["chunks submitted"] == 3
    assert found["ledger"]["batches"] == found["archive"]["batches"] == 3


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_looking_on_while_a_job_runs_never_finds_a_difference(tmp_path: Path) -> None:
    """One audit after another beside a run with failures and retries, until it ends."""
    work, ended = tmp_path / "work", threading.Event()
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as gateway:
        gateway.set_faults(TROUBLE)
        runner = threading.Thread(target=lambda: (run(gateway, work, 300), ended.set()))
        runner.start()
        wait_until(lambda: bool(list(work.glob("job-*/plans/*/*"))), "a plan")
        [job_id] = [path.name for path in work.glob("job-*")]
        looks, differences = 0, []
        while not ended.is_set() and runner.is_alive():
            differences += orchestrator.audit(job_id, work=work, deep=looks % 3 == 0).differences
            looks += 1
        runner.join()

    assert ended.is_set()
    assert looks > 1
    assert differences == []
    assert orchestrator.audit(job_id, work=work, deep=True).is_clean


def test_the_command_says_each_difference_and_ends_with_1(cli: CommandLine, whole: Copy) -> None:
    """Exit code 0 only with zero differences; --json tells the same."""
    shutil.copytree(whole.work, cli.work)
    copy = Copy(work=cli.work, job_id=whole.job_id)

    clean = cli.run("audit", copy.job_id)
    copy.first("parts/*").unlink()
    told = cli.run("audit", copy.job_id)
    listed = cli.run("audit", copy.job_id, "--json")

    assert (clean.code, told.code, listed.code) == (0, 1, 1)
    assert "differences: 0" in clean.out
    assert "parsed results" in told.out
    assert [one["what"] for one in json.loads(listed.out)["differences"]] == ["parsed results"]


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_revision_beside_the_first_is_audited_too(gateway: GatewayProcess, tmp_path: Path) -> None:
    """After a retry both outputs are digested, and the last one is compared with the parts."""
    gateway.set_faults({"rows": {"fail": {"400": 2}, "times": 1}})
    job_id = run(gateway, tmp_path / "work", 60).job_id
    result = orchestrator.open_job(job_id, work=tmp_path / "work").retry()
    copy = Copy(work=tmp_path / "work", job_id=job_id)

    assert result.counts["failed"] == 0
    assert copy.audit(deep=True).differences == []
    flip(copy.first("output/part-*"))
    assert {one.unit for one in copy.audit(deep=True).differences} == {"output/part-00000.parquet"}


@pytest.mark.usefixtures("key")
def test_a_create_sent_again_despite_a_possible_duplicate_is_named_with_its_price(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """on_ambiguous = "resubmit": what may have been paid twice, in dollars."""
    gateway.set_faults({"create": {"lost": 1}})
    job_id = run(gateway, tmp_path / "work", 20, on_ambiguous="resubmit", max_duplicate_usd="1").job_id

    found = orchestrator.audit(job_id, work=tmp_path / "work", deep=True)

    assert found.differences == []
    assert gateway.bill()["paid_twice"] == 20
    assert found.waste[Waste.MAYBE_TWICE].count == 1
    assert found.wasted_usd == found.waste[Waste.MAYBE_TWICE].usd > 0


@pytest.mark.usefixtures("key")
def test_an_unresolved_create_is_under_way(gateway: GatewayProcess, tmp_path: Path) -> None:
    """It waits for a person, and nothing differs."""
    gateway.set_faults({"create": {"lost": 1}})
    with pytest.raises(JobUnresolved):
        run(gateway, tmp_path / "work", 60)
    [job_id] = [path.name for path in (tmp_path / "work").glob("job-*")]

    found = orchestrator.audit(job_id, work=tmp_path / "work", deep=True)

    assert found.differences == []
    assert found.under_way["chunks unresolved"] == 1


def test_failures_that_were_charged_for_are_added_up() -> None:
    """From the parts: what rows cost that have no answer."""
    job_files = MemoryJobFiles()
    rows = [
        ((0, 0), Answer(succeeded=True, input_tokens=1_000_000, output_tokens=0)),
        ((0, 1), Answer(succeeded=False, input_tokens=2_000_000, output_tokens=0, error_code="content_filter")),
        ((0, 2), Answer(succeeded=False, error_code="500")),
    ]
    price = Price(input_usd=Decimal(1), output_usd=Decimal(4))
    with job_files.create("parts/one.parquet") as file:
        write_part(file, iter(rows), batch_id="b", round=1, fees_usd=None, price=price)

    sums = sums_of(job_files, "parts/one.parquet")

    assert (sums.succeeded, sums.failed) == (1, 2)
    assert (sums.cost_usd, sums.failed_usd) == (Decimal(3), Decimal(2))
