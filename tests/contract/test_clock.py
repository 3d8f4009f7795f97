"""The ledger's time: one for all who use it, whatever their own clocks say, and there when the database is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.errors import LedgerError
from orchestrator.ledger import clock
from orchestrator.ledger.clock import LedgerClock, clock_skew_s, measure
from orchestrator.ledger.db.database import Database, open_ledger, open_sqlite
from tests.contract.ledger_harness import LedgerHarness
from tests.servers.postgres import PostgresServer

A_LITTLE = timedelta(seconds=2)


def test_the_time_is_the_databases_within_the_error_of_the_measurement(postgres: LedgerHarness) -> None:
    ledger_clock = LedgerClock(postgres.database)

    first = measure(postgres.database)
    now = ledger_clock.now()
    last = measure(postgres.database)

    error = timedelta(seconds=first.error_s + last.error_s)
    assert first.at - error <= now <= last.at + error
    assert now.tzinfo is UTC
    assert first.error_s < 1


def test_the_time_goes_on_between_measurements(postgres: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is carried by the steady clock: the database is asked once."""
    ledger_clock = LedgerClock(postgres.database)
    begun = ledger_clock.now()
    monkeypatch.setattr(clock, "measure", lambda _database: pytest.fail("asked again"))

    times = [ledger_clock.now() for _ in range(1_000)]

    assert times == sorted(times) and times[-1] > begun


def test_the_time_is_measured_again_when_it_has_grown_old(
    postgres: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_clock = LedgerClock(postgres.database)
    ledger_clock.now()
    real, asked = clock.measure, []

    def measure_and_count(database: Database) -> clock.Reading:
        asked.append(database)
        return real(database)

    monkeypatch.setattr(clock, "measure", measure_and_count)
    monkeypatch.setattr(clock, "REFRESH_S", 0.0)
    ledger_clock._stale_at_s = 0.0

    ledger_clock.now()
    ledger_clock.now()

    assert len(asked) == 2


def test_a_machine_whose_clock_is_wrong_has_the_ledgers_time(
    postgres: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour ahead: the clock port does not follow, and the skew is told."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return datetime.now(UTC) + timedelta(hours=1)

    assert abs(clock_skew_s(postgres.database)) < 2
    monkeypatch.setattr(clock, "datetime", Ahead)

    assert abs(LedgerClock(postgres.database).now() - datetime.now(UTC)) < A_LITTLE
    assert clock_skew_s(postgres.database) == pytest.approx(3_600, abs=2)


def test_sqlite_has_the_machines_own_clock() -> None:
    database = open_sqlite(None)

    assert abs(LedgerClock(database).now() - datetime.now(UTC)) < A_LITTLE
    assert clock_skew_s(database) == 0
    database.close()


def test_the_time_is_there_while_the_database_is_not(shaky_postgres: PostgresServer) -> None:
    """Or a step that holds a provider's answer could not record it for want of a time."""
    database = open_ledger(shaky_postgres.url)
    ledger_clock = LedgerClock(database)
    begun = ledger_clock.now()
    shaky_postgres.stop()

    ledger_clock._stale_at_s = 0.0
    assert timedelta(0) < ledger_clock.now() - begun < timedelta(minutes=1)
    with pytest.raises(LedgerError):
        LedgerClock(database).now()

    shaky_postgres.start()
    assert LedgerClock(database).now() > begun
    database.close()


def test_chance_and_tokens_are_drawn_anew() -> None:
    database = open_sqlite(None)
    ledger_clock = LedgerClock(database)

    assert all(0 <= ledger_clock.draw() < 1 for _ in range(100))
    assert len({ledger_clock.token() for _ in range(100)}) == 100
    assert {len(ledger_clock.token()), len(bytes.fromhex(ledger_clock.token()))} == {32, 16}
    database.close()
