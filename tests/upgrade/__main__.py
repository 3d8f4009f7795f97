"""Upgrades under load: an earlier version of the program works beside the present one, seed after seed.

    python -m tests.upgrade run --seeds 100 --first 0 --processes 2 --json
    python -m tests.upgrade replay 2 b1 17

`run` takes the last version of each schema, and of them those classes of providers that it knows. It needs the
repository's history. It ends with 0 where everything held, with 1 where something did not.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final

from tests.fakes.classes import CLASSES
from tests.simulation.campaign import spread
from tests.simulation.shrink import CAUGHT
from tests.upgrade.campaign import Figures, blocks, errors_of, run_block
from tests.upgrade.versions import LAST_COMMITS, NoHistory, version_of
from tests.upgrade.world import upgraded

FAILURES_SHOWN: Final = 10


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.upgrade", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--schema", type=int, action="append", choices=tuple(LAST_COMMITS), default=[])
    run.add_argument("--seeds", type=int, default=100, help="of each version")
    run.add_argument("--first", type=int, default=0)
    run.add_argument("--processes", type=int, default=2)
    run.add_argument("--json", action="store_true")
    replay = commands.add_parser("replay")
    replay.add_argument("schema", type=int, choices=tuple(LAST_COMMITS))
    replay.add_argument("provider", choices=tuple(CLASSES))
    replay.add_argument("seed", type=int)
    options = parser.parse_args()
    try:
        return _run(options) if options.command == "run" else _replay(options)
    except NoHistory as error:
        _say(f"cannot be run here: {error}", sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    failed = 0
    for schema in options.schema or LAST_COMMITS:
        version_of(schema)  # raises where there is no history, before others are started
        figures = Figures(schema=schema)
        for some in spread(run_block, blocks(schema, options.first, options.seeds), options.processes):
            figures.add(some)
        failed += len(figures.failed)
        told = {
            "schema": schema,
            "seeds": figures.seeds,
            "mixed": figures.mixed,
            "old_steps": figures.old_steps,
            "new_steps": figures.new_steps,
            "failed": len(figures.failed),
        }
        _say(json.dumps(told) if options.json else "  ".join(f"{name} {value}" for name, value in told.items()))
        for words in figures.failed[:FAILURES_SHOWN]:
            _say(words, sys.stderr)
    return 1 if failed else 0


def _replay(options: argparse.Namespace) -> int:
    version = version_of(options.schema)
    try:
        world = upgraded(options.seed, options.provider, version, keep_trace=True)
    except (*CAUGHT, *errors_of(version)) as error:
        _say("\n".join([*getattr(error, "__notes__", ()), f"{type(error).__name__}: {error}"]))
        return 1
    _say("\n".join(world.trace.lines or ()))
    return 0


def _say(words: str, stream: Any = None) -> None:
    print(words, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
