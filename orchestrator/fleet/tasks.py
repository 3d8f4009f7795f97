"""The tasks that messages call: hand out due steps; run one step."""

from __future__ import annotations

from typing import Final

from orchestrator import telemetry
from orchestrator.domain.errors import Interrupted, LeaseLost, LedgerError, StorageError, public_message
from orchestrator.domain.model import Claim
from orchestrator.fleet.app import ADVANCE, TICK, app
from orchestrator.fleet.process import FleetProcess, claim_of, this_process
from orchestrator.log import LEDGER_LOST, MESSAGE_REFUSED, STEP_FAILED, STEP_YIELDED, EventLog

INTAKE: Final = "orchestrator.fleet.intake:strategy"
FAILURES_MAX: Final = 5  # of one step of one unit within an hour, before its job is stopped
_log: Final = EventLog(__name__)


@app.task(name=TICK, Strategy=INTAKE)
def tick() -> None:
    """Hand out what is due."""
    telemetry.ticked()
    this_process().hand_out()


@app.task(name=ADVANCE, Strategy=INTAKE)
def advance(*message: object) -> None:
    """Run the step that was handed out, and hand out steps that have become due."""
    try:
        claim = claim_of(message)
    except ValueError as error:
        _log.warning(MESSAGE_REFUSED, reason=str(error))
        return
    _perform(this_process(), claim)
    this_process().hand_out()


def _perform(process: FleetProcess, claim: Claim) -> None:
    """Run a step; an error is recorded in the ledger, for people to see, and never stops the worker."""
    try:
        process.perform(claim)
    except (LeaseLost, Interrupted):
        _log.debug(STEP_YIELDED, **claim.fields)
    except LedgerError as error:  # it cannot be recorded; the lease expires, and the step is handed out again
        _log.warning(LEDGER_LOST, **claim.fields, error=str(error))
    except Exception as error:  # noqa: BLE001 - one bad step must not end a worker that serves many jobs
        words = public_message(error)
        _log.error(STEP_FAILED, **claim.fields, error=words)
        process.note_failure(claim, words, failures_max=None if isinstance(error, StorageError) else FAILURES_MAX)
