"""The Celery application: the transport of the fleet's task messages. Only the ledger knows what is due.

Rule 1: no result backend, no delayed messages, no canvas, JSON only: a message names a step of a unit to run. A
        message that is lost, duplicated or forged changes nothing that the ledger does not allow.
Rule 2: every wait for the broker has a timeout. Without `socket_timeout`, a worker never notices a dead connection;
        these settings were measured together.
"""

from __future__ import annotations

import os
import ssl
from typing import Any, Final

import kombu
from celery import Celery

from orchestrator import settings as configuration
from orchestrator.domain.queues import Queue
from orchestrator.settings import Settings

TICK: Final = "orchestrator.tick"
ADVANCE: Final = "orchestrator.advance"
KEY_PREFIX: Final = "orchestrator:"
TICKS_KEPT: Final = 3  # a tick expires after this many intervals


def configuration_of(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration."""
    has_tls = settings.broker_url.startswith("rediss:")
    return (
        _BROKER
        | _TASKS
        | _WORKER
        | {
            "broker_url": settings.broker_url,
            "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if has_tls else None,
            "beat_schedule": {
                "tick": {
                    "task": TICK,
                    "schedule": settings.tick_s,
                    "options": {"expires": settings.tick_s * TICKS_KEPT, "queue": Queue.CONTROL.value},
                }
            },
            "beat_scheduler": "orchestrator.fleet.beat:TickScheduler",
        }
    )


_BROKER: Final[dict[str, Any]] = {
    "broker_transport_options": {
        "visibility_timeout": 300,  # the message of a worker that died is delivered again; by then it has expired
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,  # the default checks only every tenth time
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "global_keyprefix": KEY_PREFIX,
    },
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "result_backend": None,
}
_TASKS: Final[dict[str, Any]] = {
    "include": ["orchestrator.fleet.tasks"],
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,  # the lease expires, and the ledger hands the step out again
    "task_ignore_result": True,
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_max": 0.5},
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_queues": [kombu.Queue(queue.value, routing_key=queue.value) for queue in Queue],
    "task_default_queue": Queue.CONTROL.value,
    "task_default_routing_key": Queue.CONTROL.value,
    "task_create_missing_queues": False,
    "enable_utc": True,
}
_WORKER: Final[dict[str, Any]] = {
    "worker_pool": "threads",
    # 0, not 1: unacknowledged messages are not counted beside the free threads. A broker that dies while every thread
    # is busy leaves messages that can never be acknowledged; counted, they keep the process from reading, so it
    # never notices that the connection is dead (celery 5.7.0, kombu 5.7.0; `make chaos` finds it).
    "worker_prefetch_multiplier": 0,
    "worker_disable_prefetch": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_remote_control": False,  # with it, anyone with access to the broker could stop workers
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
}


def make_app(settings: Settings) -> Celery:
    """Return an application that talks to the broker of `settings`."""
    made = Celery("orchestrator", set_as_current=False)
    made.config_from_object(configuration_of(settings))
    return made


app = make_app(configuration.load(os.environ))
