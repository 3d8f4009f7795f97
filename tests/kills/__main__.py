"""The command line of the kills: how many, of which kind; a table out, or JSON; exit code 1 where something failed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.gateway_process import API_KEY
from tests.kills import recovery
from tests.kills.disk import full, power
from tests.kills.jobs import Workspace, a_workspace
from tests.kills.launcher import POOL_SIZE, ForkServerPool, fork_server_pool, why_untraced
from tests.kills.outcomes import Campaign
from tests.kills.points import again, points
from tests.kills.readers import readers
from tests.kills.syscalls import ERRORS, KILL, syscalls

MEMORY: Final = Path("/dev/shm")


def main() -> int:
    """Run what the command line says; return the exit code."""
    options = _parser().parse_args()
    os.environ["ONEROUTER_API_KEY"] = API_KEY
    failed = False
    for campaign in _campaigns(options):
        sys.stdout.write(campaign.text(as_json=options.json) + "\n")
        sys.stdout.flush()
        failed |= bool(campaign.failures)
    return int(failed)


def _campaigns(options: argparse.Namespace) -> Iterator[Campaign]:
    with _stage(options) as (workspace, opened):
        if options.what == "points":
            if options.at:
                yield again(workspace, opened, options.at)
            else:
                yield points(workspace, opened, trials=options.trials, seed=options.seed)
        elif options.what == "syscalls":
            _refuse_untraced()
            for fault in (KILL, *ERRORS):
                if options.only in fault.name:
                    yield syscalls(
                        workspace, opened, fault, every=options.every if fault is KILL else options.errors_every
                    )
        elif options.what == "disk":
            _refuse_untraced()
            yield full(workspace, opened, sizes=options.sizes)
            yield power(workspace, opened, every=options.every)
            if options.whole_run:
                yield power(workspace, opened, every=options.every, is_whole=True)
        elif options.what == "readers":
            _refuse_untraced()
            yield readers(workspace, opened, kills=options.kills, seed=options.seed)
        else:
            for kind in ("sqlite", "postgres"):
                yield recovery.fleet(workspace.folder / kind, ledger=kind)
            yield recovery.alone(workspace)
            yield recovery.doubts(workspace, count=options.doubts)


@contextmanager
def _stage(options: argparse.Namespace) -> Iterator[tuple[Workspace, ForkServerPool]]:
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=options.folder or (MEMORY if MEMORY.is_dir() else None)))
    with a_workspace(folder) as workspace, fork_server_pool(options.at_once) as opened:
        yield workspace, opened
    if options.keep:
        sys.stderr.write(f"kept: {folder}\n")
    else:
        shutil.rmtree(folder)


def _refuse_untraced() -> None:
    if reason := why_untraced():
        sys.exit(f"no child can be traced: {reason}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description="Real kills, real disks.")
    parser.add_argument("what", choices=("points", "syscalls", "disk", "readers", "recovery"))
    parser.add_argument("--trials", type=int, default=300, help="points: how many")
    parser.add_argument("--at", action="append", metavar="FILE:LINE:TIME", help="points: only this one, again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="syscalls, disk: only each so many-th")
    parser.add_argument("--errors-every", type=int, default=4, help="syscalls: each so many-th fails")
    parser.add_argument("--sizes", type=int, default=30, help="disk: how many")
    parser.add_argument("--whole-run", action="store_true", help="disk: lose the power at any time of a run, too")
    parser.add_argument("--kills", type=int, default=200, help="readers: how many")
    parser.add_argument("--doubts", type=int, default=1_000, help="recovery: how many creates")
    parser.add_argument("--only", default="", help="syscalls: faults with this in their names")
    parser.add_argument("--at-once", type=int, default=POOL_SIZE, help="how many jobs at a time")
    parser.add_argument("--folder", type=Path, help="where (default: in memory, where that can be had)")
    parser.add_argument("--keep", action="store_true", help="keep the folders of what failed")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each campaign")
    return parser


if __name__ == "__main__":
    sys.exit(main())
