"""Batch orchestrator: a language model's answer beside every row of a dataset, through Batch APIs."""

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
