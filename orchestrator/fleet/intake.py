"""How a message becomes a task: a message that cannot be decoded is dropped, and the worker goes on.

Celery 5.7.0 answers a body that is JSON, but not its own three parts, by ending the worker; the message is then
delivered again, to the next one. Celery also registers tasks of its own, which anybody at the broker
could call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import Celery
from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

BROKEN: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


def close_to_strangers(app: Celery) -> None:
    """Unregister every task but ours, so that no message can call another."""
    app.finalize()
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return Celery's handler of a task's messages, made safe against messages that break it."""
    handle = default(task, app, consumer, **options)

    def guarded(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **further: Any) -> Any:
        try:
            return handle(message, body, ack, reject, callbacks, **further)
        except BROKEN as error:
            broken = type(error).__name__
        raise InvalidTaskError(f"the message cannot be decoded ({broken})")

    return guarded
