"""What a fake provider can do, by its class: files where a create is stopped by deleting one; a list for all."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.recovery import Recovery


class Capabilities:
    """The optional parts of a provider, which are the fake itself."""

    traits: Any

    @property
    def files(self) -> Any:
        """Input files."""
        return self if self.traits.recovery is Recovery.FENCED else None

    @property
    def batch_list(self) -> Any:
        """The list of batches."""
        return self
