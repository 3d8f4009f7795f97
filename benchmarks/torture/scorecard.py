"""The lines of the scorecard: what is measured, what must come out, the command, and how long it may take.

Rule 1: all lines together fit into 35 minutes on two cores (`minutes`), by what each takes on a machine with nothing
        else to do. A line that takes more than twice as long is ended, and has missed.
Rule 2: a line of two cores runs alone, so that nothing disturbs its figures; lines of one core run two at a time.
Rule 3: `{first}` is a fresh number, drawn for each run and kept with its figures: seeds that nobody has seen before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.torture import judging
from benchmarks.torture.judging import Judge

MINUTES_MAX: Final = 35
PASSED: Final = judging.passed(1)
QUIET: Final = "-q -p no:cacheprovider"
ONE: Final = f"pytest {QUIET}"
TWO: Final = f"pytest {QUIET} -n 2 --dist loadfile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the scorecard."""

    id: str
    measure: str
    target: str
    commands: tuple[str, ...]  # () where there is no program yet
    judge: Judge = PASSED
    takes_s: int = 60  # on two quiet cores
    cores: int = 1
    needs: tuple[str, ...] = ()  # paths without which it is not built

    @property
    def limit_s(self) -> int:
        """After how long it is ended."""
        return 2 * self.takes_s


LINES: Final[tuple[Line, ...]] = (
    Line(
        id="T1",
        measure="seeded simulation: crashes, pauses, faults, power loss, then calm",
        target="fresh seeds at each of five classes: nothing paid twice, lost or stuck, the bill is the ledger's",
        commands=("python -m tests.simulation run --seeds 60 --first {first} --processes 2 --json",),
        judge=judging.seeds,
        takes_s=60,
        cores=2,
        needs=("tests/simulation/campaign.py",),
    ),
    Line(
        id="T2",
        measure="every crash, and every pair of crashes, of two workers on one chunk",
        target="22 points, all their pairs, each outcome of a create: 0 failures; a protocol that lists at once fails",
        commands=(
            "python -m tests.simulation exhaust --class a1 --class b1 --points 22 --processes 2 --json",
            "python -m tests.simulation exhaust --class b1 --points 12 --negative --processes 2 --json",
        ),
        judge=judging.schedules,
        takes_s=65,
        cores=2,
        needs=("tests/simulation/exhaust.py",),
    ),
    Line(
        id="T3",
        measure="broken protocols; broken lines of the domain and of the steps at a provider",
        target="at least 25 protocols, each caught within 500 seeds; 9 of 10 lines of a fresh sample, by their tests",
        commands=(
            "python -m tests.simulation mutants --seeds 500 --processes 2 --json",
            "python -m tests.mutation run --sample 20 --seed {first} --processes 2 --at-least 0 --json",
        ),
        judge=judging.mutants,
        takes_s=75,
        cores=2,
        needs=("tests/simulation/campaign.py", "tests/mutation/__main__.py"),
    ),
    Line(
        id="T4",
        measure="kill -9 of a real process at points of its work",
        target="100 trials: all recover, each chunk once at the provider",
        commands=("python -m tests.kills points --trials 100 --seed {first} --json",),
        judge=judging.kills(100),
        takes_s=60,
        cores=2,
        needs=("tests/kills/points.py",),
    ),
    Line(
        id="T5",
        measure="kill -9, EIO and ENOSPC at the n-th system call of a small run",
        target="a kill at every second call until the run completes, an error at every twentieth: 0 failures",
        commands=("python -m tests.kills syscalls --every 2 --errors-every 20 --json",),
        judge=judging.kills(45),
        takes_s=115,
        cores=2,
        needs=("tests/kills/syscalls.py",),
    ),
    Line(
        id="T6",
        measure="real workers, beats, broker: kills, freezes across a create, cuts",
        target="every job exact, nothing paid twice",
        commands=("python -m benchmarks.chaos --runs 1",),
        judge=judging.chaos,
        takes_s=40,
        cores=2,
        needs=("benchmarks/chaos/__main__.py",),
    ),
    Line(
        id="T7",
        measure="the broker flushed, killed, frozen, out of memory, read-only, away",
        target="no chunk lost, work goes on after it is back",
        commands=(f"{TWO} tests/workers/test_broker_trouble.py tests/workers/test_hand_out.py",),
        takes_s=120,
        needs=("tests/workers/test_broker_trouble.py",),
    ),
    Line(
        id="T8",
        measure="every endpoint under every fault of a provider",
        target="at least 300 cells, each with its declared outcome, one create at the server in each",
        commands=(f"MATRIX=all {TWO} tests/matrix",),
        judge=judging.passed(300, "cells and tests of the table"),
        takes_s=65,
        cores=2,
        needs=("tests/matrix/test_table.py",),
    ),
    Line(
        id="T9",
        measure="mutated result files; requests to the gateway, drawn from its own description",
        target="300,000 files: no exception, no answer on another row, every line counted; every answer as described",
        commands=(
            "python -m tests.fuzz --files 300000 --seed {first} --processes 2",
            f"OPENAPI_EXAMPLES=50 OPENAPI_SEED={{first}} {ONE} -n 2 tests/fuzz/test_openapi.py",
        ),
        judge=judging.fuzzed(300_000),
        takes_s=75,
        cores=2,
        needs=("tests/fuzz/__main__.py",),
    ),
    Line(
        id="T10",
        measure="ledger and steps against a model, by Hypothesis",
        target="300 examples of 50 rules: never two live attempts, sums equal, versions only rise",
        commands=(f"STATEFUL_EXAMPLES=300 STATEFUL_RULES=50 {ONE} -o timeout=0 tests/fuzz/test_machine.py",),
        judge=judging.passed(1, "search of 300 examples"),
        takes_s=75,
        needs=("tests/fuzz/machine.py",),
    ),
    Line(
        id="T11",
        measure="a full disk and a power loss while the output is made",
        target="no part of a dataset ever visible, a rerun ends exact",
        commands=("python -m tests.kills disk --every 20 --sizes 20 --json",),
        judge=judging.kills(40),
        takes_s=50,
        cores=2,
        needs=("tests/kills/disk.py",),
    ),
    Line(
        id="T12",
        measure="readers while finish runs and is killed",
        target="200 kills: 0 partial reads, 0 wrong rows",
        commands=("python -m tests.kills readers --seed {first} --json",),
        judge=judging.readers(200),
        takes_s=60,
        cores=2,
        needs=("tests/kills/readers.py",),
    ),
    Line(
        id="T13",
        measure="a month of virtual time with 1,000 batches in flight, with faults",
        target="30 days, exact, nothing paid twice, as many objects at the end as at the beginning",
        commands=("python -m benchmarks.load soak --days 30 --in-flight 1000 --json",),
        judge=judging.soaked,
        takes_s=210,
        needs=("benchmarks/load/virtual.py",),
    ),
    Line(
        id="T14",
        measure="1,000,000 chunks in the ledger",
        target="entered in 30 s, a look p99 5 ms, 500 hand-outs a second by two processes, none twice",
        commands=("python -m benchmarks.load ledger --chunks 1000000 --json",),
        judge=judging.ledger,
        takes_s=50,
        cores=2,
        needs=("benchmarks/load/ledger.py",),
    ),
    Line(
        id="T15",
        measure="1,500 batches in flight for a virtual day, 12 calls a minute",
        target="at most 5 % of calls refused, none left unasked for two intervals, 500 MB",
        commands=("python -m benchmarks.load in-flight --batches 1500 --json",),
        judge=judging.flight(1_500),
        takes_s=130,
        needs=("benchmarks/load/virtual.py",),
    ),
    Line(
        id="T16",
        measure="10,000,000 rows collected and finished",
        target="exact, at most 1 GiB and flat, 50,000 rows finished a core second",
        commands=("python -m benchmarks.load rows --rows 10000000 --json",),
        judge=judging.rows,
        takes_s=235,
        needs=("benchmarks/load/rows.py",),
    ),
    Line(
        id="T17",
        measure="recovery after everything was killed",
        target="first useful step within 5 s; 1,000 creates in doubt settled within 60 s in class B1",
        commands=("python -m tests.kills recovery --json",),
        judge=judging.recovered,
        takes_s=85,
        cores=2,
        needs=("tests/kills/recovery.py",),
    ),
    Line(
        id="T18",
        measure="the ledger is lost, or an old back-up",
        target="rebuilt from the work folder; every collected row is there, no new create for what was sent",
        commands=(f"{ONE} -n 2 tests/acceptance/test_recover.py",),
        takes_s=90,
        cores=2,
        needs=("tests/acceptance/test_recover.py",),
    ),
    Line(
        id="T19",
        measure="upgrades",
        target="ledgers of every schema move forward; the version before works beside the new one for 100 seeds",
        commands=(
            f"{ONE} tests/contract/test_migrations.py",
            "python -m tests.upgrade run --schema 4 --seeds 100 --first {first} --processes 1 --json",
        ),
        judge=judging.both(PASSED, judging.upgraded),
        takes_s=45,
        needs=("tests/contract/test_migrations.py", "tests/upgrade/__main__.py"),
    ),
    Line(
        id="T20",
        measure="security, S1 to S22",
        target="all green, the canary in no artefact",
        commands=(f"{TWO} tests/security",),
        takes_s=110,
        cores=2,
        needs=("tests/security/test_canary.py", "docs/threats.md"),
    ),
    Line(
        id="T21",
        measure="the catalogue of failures, and the branches of the core",
        target="each of 86 failures has a test; every branch of the domain is taken by its tests",
        commands=(f"{ONE} tests/test_failures.py", "python -m benchmarks.branches"),
        judge=judging.both(PASSED, judging.branches),
        takes_s=40,
        needs=("docs/failures.md", "benchmarks/branches.py"),
    ),
    Line(
        id="T22",
        measure="determinism",
        target="100 seeds twice, and in a process with another hash seed: the same traces",
        commands=("python -m tests.simulation determinism --seeds 100 --first {first} --processes 1 --json",),
        judge=judging.unlike(100),
        takes_s=65,
        needs=("tests/simulation/campaign.py",),
    ),
    Line(
        id="T23",
        measure="audit: rows, attempts and bill, worked out again from the archive",
        target="no difference after jobs that met trouble; every kind of damage named",
        commands=(f"{ONE} tests/acceptance/test_audit.py",),
        takes_s=70,
        needs=("tests/acceptance/test_audit.py",),
    ),
    Line(
        id="B1",
        measure="lost creates on the wire, in OpenAI's dialect: answered 500, cut, client killed, late",
        target="100 of 100 heal by themselves, nothing paid twice",
        commands=("python -m benchmarks.heal --json",),
        judge=judging.healed,
        takes_s=205,
        cores=2,
        needs=("benchmarks/heal.py",),
    ),
)


def minutes(lines: tuple[Line, ...] = LINES) -> float:
    """Return how long all lines take together: on two cores, those of one core two at a time."""
    alone = sum(line.takes_s for line in lines if line.cores == 2)
    shared = [line.takes_s for line in lines if line.cores == 1]
    return (alone + max([sum(shared) / 2, *shared], default=0)) / 60
