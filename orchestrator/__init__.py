"""Batch orchestrator: a language model's answer beside every row of a dataset, through Batch APIs.

A name is imported from its module when it is first used, so `import orchestrator` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orchestrator.api.commands import audit, open_job, plan, recover, run, submit
    from orchestrator.api.handle import JobHandle, JobInterrupted, JobStopped, JobUnfinished, JobUnresolved
    from orchestrator.api.job import Job, read_job
    from orchestrator.api.result import Result, Status
    from orchestrator.audit.findings import Audit
    from orchestrator.domain.errors import ConfigError, DatasetError, OrchestratorError
    from orchestrator.restore.restore import Recovered

__all__ = [
    "Audit",
    "ConfigError",
    "DatasetError",
    "Job",
    "JobHandle",
    "JobInterrupted",
    "JobStopped",
    "JobUnfinished",
    "JobUnresolved",
    "OrchestratorError",
    "Recovered",
    "Result",
    "Status",
    "audit",
    "open_job",
    "plan",
    "read_job",
    "recover",
    "run",
    "submit",
]
_NAMES_OF: Final = {
    "orchestrator.api.commands": ("audit", "open_job", "plan", "recover", "run", "submit"),
    "orchestrator.api.handle": ("JobHandle", "JobInterrupted", "JobStopped", "JobUnfinished", "JobUnresolved"),
    "orchestrator.api.job": ("Job", "read_job"),
    "orchestrator.api.result": ("Result", "Status"),
    "orchestrator.audit.findings": ("Audit",),
    "orchestrator.domain.errors": ("ConfigError", "DatasetError", "OrchestratorError"),
    "orchestrator.restore.restore": ("Recovered",),
}
_MODULE_OF: Final = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
