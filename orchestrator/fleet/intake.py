"""How a message becomes a task: one that cannot be taken apart is dropped, and the process that met it lives on.

Celery 5.7.0 answers a body that is JSON, but not its own three parts, by ending the worker; the message is then
delivered again, to the next one. And it brings tasks of its own, which anybody at the broker could name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import Celery
from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

BROKEN: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


def close_to_strangers(app: Celery) -> None:
    """Leave no task that a message may name but ours."""
    app.finalize()
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return Celery's own handler of a task's messages, with an answer to those that break it."""
    handle = default(task, app, consumer, **options)

    def guarded(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **further: Any) -> Any:
        try:
            return handle(message, body, ack, reject, callbacks, **further)
        except BROKEN as error:
            broken = type(error).__name__
        raise InvalidTaskError(f"the message cannot be taken apart ({broken})")

    return guarded
