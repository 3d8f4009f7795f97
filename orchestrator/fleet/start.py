"""How a process joins the fleet: it checks its setup, opens the ledger, and registers itself."""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from celery import bootsteps
from celery.signals import beat_init, celeryd_after_setup, setup_logging, worker_ready, worker_shutting_down

from orchestrator import settings as configuration
from orchestrator.domain.errors import LedgerAway, OrchestratorError
from orchestrator.domain.queues import HEAVY, Queue
from orchestrator.domain.workers import Kind
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.engine.local_runner import HEAVY_MAX
from orchestrator.engine.locks import one_of_fleet
from orchestrator.engine.notifier import Notifier
from orchestrator.engine.opening import open_workspace
from orchestrator.engine.tracing import traced
from orchestrator.engine.workspace import Workspace
from orchestrator.fleet import beat, checks
from orchestrator.fleet.app import app
from orchestrator.fleet.broker import UNREACHABLE, Broker, Queues, place_of, refuse_open
from orchestrator.fleet.exposed import exposed
from orchestrator.fleet.intake import close_to_strangers
from orchestrator.fleet.presence import PULSE_S, Loop, Pulse
from orchestrator.fleet.process import FleetProcess, become, this_process
from orchestrator.fleet.supervise import REFUSED
from orchestrator.log import STOP_FORCED, WORKER_STARTED, EventLog, configure, say
from orchestrator.settings import Settings

LEDGER_WAIT_S: Final = 60.0
LEDGER_AGAIN_S: Final = 2.0
# Modules that Celery imports when a worker is made: where several are forked, the parent imports them first.
WORKER_PARTS: Final = (
    "celery.apps.worker",
    "celery.concurrency.thread",
    "kombu.transport.redis",
    "orchestrator.engine.steps",
    "orchestrator.fleet.tasks",
)
STUCK: Final = 1  # the exit code of a worker that was asked to stop and did not in time
Place = tuple[str, int]  # a host and a port
_log: Final = EventLog(__name__)


@contextmanager
def joined(kind: Kind, queues: Sequence[Queue], loop: Loop, metrics: Place | None = None) -> Iterator[Settings]:
    """Join the fleet for the length of a block. Raises ConfigError or LedgerError where the setup is unsafe.

    It waits a limited time for an unreachable ledger, and without limit for the broker.
    """
    settings = configuration.load(os.environ)
    refuse_open(settings.broker_url, insecure_allowed=settings.broker_insecure)
    until = time.monotonic() + LEDGER_WAIT_S
    while True:
        with ExitStack() as stack:
            try:
                workspace = _join(stack, kind, queues, loop, settings)
                stack.enter_context(exposed(workspace, metrics, queues))
            except LedgerAway as error:
                if time.monotonic() > until:
                    raise
                say(f"{error}; trying again")
            else:
                _log.info(WORKER_STARTED, kind=kind.value, queues=sorted(queues))
                yield settings
                return
        time.sleep(LEDGER_AGAIN_S)


def _join(stack: ExitStack, kind: Kind, queues: Sequence[Queue], loop: Loop, settings: Settings) -> Workspace:
    workspace = stack.enter_context(closing(open_workspace(settings.work, settings.ledger_url, os.environ)))
    broker = stack.enter_context(closing(Broker(settings.broker_url)))
    stack.enter_context(_lock_of(workspace))
    here, ledger_id = checks.host(), _check(workspace, broker, settings)
    heartbeat = stack.enter_context(Heartbeat(workspace.ledger, workspace.clock, settings.lease_s))
    process = FleetProcess(workspace=workspace, settings=settings, queues=Queues(app), heartbeat=heartbeat)
    become(process)
    pulse = Pulse(
        workspace=workspace,
        broker=broker,
        ledger_id=ledger_id,
        host=here,
        register=lambda: workspace.register(kind, here, queues),
        loop=loop,
        heartbeat=settings.heartbeat,
        doing=heartbeat.doing,
        is_stopping=process.stopping.is_set,
    )
    pulse.start()
    stack.callback(pulse.stop)
    stack.enter_context(traced(settings))
    if Queue.CONTROL in queues:
        stack.enter_context(Notifier.of(workspace, settings))
    return workspace


@contextmanager
def _lock_of(workspace: Workspace) -> Iterator[None]:
    if workspace.lock is None:
        yield
    else:
        with one_of_fleet(workspace.lock):
            yield


def _check(workspace: Workspace, broker: Broker, settings: Settings) -> str:
    """Refuse a setup that would silently lose work or time; return the ledger's own id."""
    here, now, place = checks.host(), workspace.clock.now(), place_of(settings.broker_url)
    checks.refuse_skew(workspace.skew_s())
    if workspace.lock is not None:
        checks.refuse_other_hosts(here, [member.host for member in workspace.workers.alive(now=now)])
    ledger_id = workspace.workers.ledger_id()
    try:
        owner = broker.mark(ledger_id, here)
    except UNREACHABLE as error:
        say(f"the broker {place} does not answer ({type(error).__name__}): waiting for it")
    else:
        checks.refuse_other_ledger(place, ledger_id, owner)
    return ledger_id


class LoopTurns(bootsteps.StartStopStep):
    """Records, from within the worker's loop, that the loop runs."""

    requires = ("celery.worker.components:Timer",)
    loop = Loop()

    def start(self, parent: Any) -> None:
        """Start to record it every few seconds."""
        self.loop.waits_for_broker = lambda: parent.consumer is not None and parent.consumer.connection is None
        self._entry = parent.timer.call_repeatedly(PULSE_S, self.loop.turn)

    def stop(self, _parent: Any) -> None:
        """Stop recording."""
        self._entry.cancel()


def run_worker(
    queues: Sequence[Queue], threads: int | None, metrics: Place | None, on_ready: Callable[[], object]
) -> int:
    """Serve these queues until stopped, and return the exit code.

    Args:
        metrics: the host and the port to serve metrics at; None: nowhere.
        on_ready: called once messages are received.
    """
    is_heavy = not HEAVY.isdisjoint(queues)
    _allow_root()
    with joined(Kind.WORKER, queues, LoopTurns.loop, metrics) as settings:
        worker_shutting_down.connect(lambda **_: _stop(settings.shutdown_s), weak=False)
        worker_ready.connect(lambda **_: on_ready(), weak=False)
        close_to_strangers(app)
        app.steps["worker"].add(LoopTurns)
        worker = app.Worker(
            hostname=f"{'-'.join(queues)}.{os.getpid()}@{checks.host().partition('#')[0]}",
            queues=[queue.value for queue in queues],
            concurrency=threads or (min(HEAVY_MAX, settings.threads) if is_heavy else settings.threads),
            loglevel="WARNING",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()
        return int(worker.exitcode or 0)


def _allow_root() -> None:
    """Celery warns root because a pickled message can run any program; here only JSON is accepted."""
    warnings.filterwarnings("ignore", message=".*superuser privileges")


def serve_celery_commands() -> None:
    """Make `celery worker` and `celery beat` join the fleet, as `orchestrator worker` and `orchestrator beat` do."""
    _allow_root()
    close_to_strangers(app)
    app.steps["worker"].add(LoopTurns)
    setup_logging.connect(_log_as_we_do, weak=False)
    celeryd_after_setup.connect(_celery_worker_joins, weak=False)
    beat_init.connect(lambda **_: _join_for_life(Kind.BEAT, (), beat.LOOP), weak=False)


def _log_as_we_do(loglevel: int | str | None = None, **_options: object) -> None:
    """Print Celery's own events as ours are printed; its `--loglevel` is for them, ORCHESTRATOR_LOG for ours."""
    configure(os.environ.get("ORCHESTRATOR_LOG", "warning"), stream_is_terminal=sys.stderr.isatty())
    logging.captureWarnings(True)
    if loglevel:
        logging.getLogger("celery").setLevel(loglevel)


def _celery_worker_joins(instance: Any, **_options: object) -> None:
    queues = [Queue(name) for name in instance.app.amqp.queues.consume_from]
    settings = _join_for_life(Kind.WORKER, queues, LoopTurns.loop)
    worker_shutting_down.connect(lambda **_: _stop(settings.shutdown_s), weak=False)


def _join_for_life(kind: Kind, queues: Sequence[Queue], loop: Loop) -> Settings:
    """Join the fleet until this process exits. On a refusal, exit: Celery would only log an exception."""
    stack = ExitStack()
    try:
        settings = stack.enter_context(joined(kind, queues, loop))
    except OrchestratorError as error:
        say(f"error: {error}")
        sys.exit(REFUSED)
    atexit.register(stack.close)
    return settings


def _stop(limit_s: float) -> None:
    """Ask the running steps to stop, and end the process if one takes too long: its recorded work is kept."""
    this_process().stopping.set()

    def end() -> None:
        _log.error(STOP_FORCED, after_s=limit_s)
        os._exit(STUCK)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()


def preload() -> None:
    """Import every worker's modules once, before workers are forked from this process."""
    for name in WORKER_PARTS:
        importlib.import_module(name)


def run_beat() -> int:
    """Send ticks until stopped, and return the exit code."""
    with joined(Kind.BEAT, (), beat.LOOP):
        app.Beat(loglevel="WARNING", quiet=True).run()
    return 0
