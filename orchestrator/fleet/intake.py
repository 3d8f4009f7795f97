"""Receives messages as tasks: a message that cannot be decoded is dropped, and the worker continues.

Celery 5.7.0 ends the worker on a body that is JSON but not Celery's three parts; the message is then delivered to the
next worker. Celery also registers tasks of its own, which anyone with access to the broker could call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import Celery
from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

BROKEN: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


def close_to_strangers(app: Celery) -> None:
    """Unregister every task except ours, so that no message can call another."""
    app.finalize()
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return Celery's handler of a task's messages, protected against malformed messages."""
    handle = default(task, app, consumer, **options)

    def guarded(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **further: Any) -> Any:
        try:
            return handle(message, body, ack, reject, callbacks, **further)
        except BROKEN as error:
            broken = type(error).__name__
        raise InvalidTaskError(f"the message cannot be decoded ({broken})")

    return guarded
