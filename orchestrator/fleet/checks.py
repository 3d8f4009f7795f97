"""Checks before a process joins the fleet: each refuses a setup that would silently lose work or time.

Every refusal is a ConfigError that says what is wrong and what to do.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator.domain.checks import NEEDS_PERSON, Check, Level
from orchestrator.domain.errors import ConfigError

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
SKEW_S_MAX: Final = 10.0  # messages expire by the clocks of two machines; a tick lives for 15 s


def host() -> str:
    """Return a name of this machine, equal in all its containers, which may share an SQLite file safely."""
    name = socket.gethostname()
    return f"{name}#{BOOT_ID.read_text().strip()[:8] if BOOT_ID.exists() else name}"


def check_broker(url: str) -> Check:
    """Look whether the broker answers; nothing is written to it."""
    from orchestrator.fleet.broker import UNREACHABLE, Broker, place_of

    line = Broker(url)
    try:
        line.ping()
    except ConfigError as error:
        return Check(name="broker", level=Level.ERROR, found=str(error), code=NEEDS_PERSON)
    except UNREACHABLE as error:
        found = f"{place_of(url)} does not answer ({type(error).__name__})"
        todo = "Start it, or correct ORCHESTRATOR_BROKER_URL"
        return Check(name="broker", level=Level.ERROR, found=found, todo=todo, code=NEEDS_PERSON)
    finally:
        line.close()
    return Check(name="broker", found=f"{place_of(url)} answers")


def refuse_skew(skew_s: float) -> None:
    """Raise ConfigError if this machine's clock and the ledger's are far apart."""
    if abs(skew_s) > SKEW_S_MAX:
        direction = "ahead of" if skew_s > 0 else "behind"
        raise ConfigError(
            f"this machine's clock is {abs(skew_s):.0f} s {direction} the ledger's database: messages would expire "
            "before they are read. Synchronise the clocks with NTP"
        )


def refuse_other_hosts(here: str, others: Sequence[str]) -> None:
    """Raise ConfigError if workers on another machine use the same SQLite file."""
    for other in others:
        if other.rpartition("#")[2] != here.rpartition("#")[2]:
            raise ConfigError(
                f"the ledger is an SQLite file, and a worker on {other.partition('#')[0]} uses it: SQLite "
                "is safe on one machine only. For several, set ORCHESTRATOR_LEDGER_URL=postgresql://… on each"
            )


def refuse_other_ledger(place: str, ledger_id: str, owner: str) -> None:
    """Raise ConfigError if the broker is used by a fleet with another ledger."""
    found, _, where = owner.partition(" ")
    if found != ledger_id:
        raise ConfigError(
            f"the broker {place} serves a fleet with another ledger (on {where.partition('#')[0]}): "
            "messages would reach workers that do "
            "not know their jobs. Workers of one fleet need one ORCHESTRATOR_LEDGER_URL (PostgreSQL, for several "
            "machines); two fleets need a database of the broker each (…/1)"
        )
