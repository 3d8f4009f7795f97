"""Batch orchestrator: a language model's answer beside every row of a dataset, through Batch APIs.

Rule 1: importing this package imports none of its modules; each public name is imported when it is first used.
Rule 2: `orchestrator.audit` is the function, whatever was imported before; the package of that name is internal.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orchestrator import testing as testing
    from orchestrator.api.commands import audit as audit
    from orchestrator.api.commands import jobs as jobs
    from orchestrator.api.commands import open_job as open_job
    from orchestrator.api.commands import plan as plan
    from orchestrator.api.commands import recover as recover
    from orchestrator.api.commands import run as run
    from orchestrator.api.commands import submit as submit
    from orchestrator.api.decision import Sample as Sample
    from orchestrator.api.handle import JobHandle as JobHandle
    from orchestrator.api.job import Job as Job
    from orchestrator.api.job import read_job as read_job
    from orchestrator.api.result import Result as Result
    from orchestrator.api.status import Status as Status
    from orchestrator.api.status import UnresolvedChunk as UnresolvedChunk
    from orchestrator.audit.findings import Audit as Audit
    from orchestrator.domain.checks import Check as Check
    from orchestrator.domain.errors import ConfigError as ConfigError
    from orchestrator.domain.errors import DatasetError as DatasetError
    from orchestrator.domain.errors import JobConflict as JobConflict
    from orchestrator.domain.errors import JobInterrupted as JobInterrupted
    from orchestrator.domain.errors import JobNeedsDecision as JobNeedsDecision
    from orchestrator.domain.errors import JobNotFinished as JobNotFinished
    from orchestrator.domain.errors import JobStopped as JobStopped
    from orchestrator.domain.errors import JobTimeout as JobTimeout
    from orchestrator.domain.errors import JobUnresolved as JobUnresolved
    from orchestrator.domain.errors import OrchestratorError as OrchestratorError
    from orchestrator.domain.look import Look as Look
    from orchestrator.domain.look import Progress as Progress
    from orchestrator.domain.policy import OutputOptions as OutputOptions
    from orchestrator.domain.policy import Policy as Policy
    from orchestrator.domain.policy import Price as Price
    from orchestrator.fleet.doctor import doctor as doctor
    from orchestrator.planner.estimate import Estimate as Estimate
    from orchestrator.restore.restore import Recovered as Recovered

    __version__: str

_PUBLIC: Final = {
    "Audit": "audit.findings",
    "Check": "domain.checks",
    "ConfigError": "domain.errors",
    "DatasetError": "domain.errors",
    "Estimate": "planner.estimate",
    "Job": "api.job",
    "JobHandle": "api.handle",
    "JobInterrupted": "domain.errors",
    "JobConflict": "domain.errors",
    "JobNeedsDecision": "domain.errors",
    "JobNotFinished": "domain.errors",
    "JobStopped": "domain.errors",
    "JobTimeout": "domain.errors",
    "JobUnresolved": "domain.errors",
    "OrchestratorError": "domain.errors",
    "OutputOptions": "domain.policy",
    "Policy": "domain.policy",
    "Price": "domain.policy",
    "Look": "domain.look",
    "Progress": "domain.look",
    "Recovered": "restore.restore",
    "Result": "api.result",
    "Sample": "api.decision",
    "Status": "api.status",
    "UnresolvedChunk": "api.status",
    "audit": "api.commands",
    "doctor": "fleet.doctor",
    "jobs": "api.commands",
    "open_job": "api.commands",
    "plan": "api.commands",
    "read_job": "api.job",
    "recover": "api.commands",
    "run": "api.commands",
    "submit": "api.commands",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("batch-orchestrator")
    elif name == "testing":
        return import_module("orchestrator.testing")
    elif name in _PUBLIC:
        found = getattr(import_module(f"orchestrator.{_PUBLIC[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})


class _Package(ModuleType):
    """This package's module type. The import system sets subpackages as attributes; none may hide a public name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _PUBLIC or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
