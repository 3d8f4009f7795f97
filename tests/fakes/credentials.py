"""The simulated provider, seen with a key: the right one, a new one of the same account, or one of another account.

Rule: every worker calls through one of these, the right key's as well: while one is in a call, another may begin one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from orchestrator.domain.batch import ResultFile, Traits
from orchestrator.domain.model import BatchId
from orchestrator.domain.results_at import ResultsAt
from tests.fakes.batches import HOME
from tests.fakes.capabilities import Capabilities
from tests.fakes.provider import SimulatedProvider

ROTATED: Final = "rotated"
OTHER: Final = "other"
ACCOUNT_OF: Final = {HOME: HOME, ROTATED: HOME, OTHER: OTHER}  # by the mark of the key
CALLS: Final = frozenset({"upload", "create", "status", "cancel", "find", "delete"})


class Credential(Capabilities):
    """The provider as it answers this key."""

    def __init__(self, provider: SimulatedProvider, key_mark: str) -> None:
        self._provider = provider
        self._account = ACCOUNT_OF[key_mark]
        self.traits: Traits = replace(provider.traits, key_mark=key_mark)

    def __getattr__(self, name: str) -> Any:
        """Return what the provider has, its calls made with this key."""
        found = getattr(self._provider, name)
        return self._with_key(found) if name in CALLS else found

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """Stream the results; whose they are is looked at when the first is asked for."""
        stream = self._provider.results(batch_id, where)
        with self._in_use():
            first = next(stream, None)
        if first is not None:
            yield first
            yield from stream

    def _with_key(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **keywords: Any) -> Any:
            with self._in_use():
                return call(*args, **keywords)

        return called

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        self._provider.account = self._account
        try:
            yield
        finally:
            self._provider.account = HOME
