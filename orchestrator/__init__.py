"""Batch orchestrator: a language model's answer beside every row of a dataset, through Batch APIs."""

from orchestrator.api import open_job, plan, run, submit
from orchestrator.domain.errors import ConfigError, DatasetError, OrchestratorError
from orchestrator.handle import JobHandle, JobHeld, JobInterrupted, JobStopped, JobUnfinished
from orchestrator.job import Job, read_job
from orchestrator.result import Result, Status

__all__ = [
    "ConfigError",
    "DatasetError",
    "Job",
    "JobHandle",
    "JobHeld",
    "JobInterrupted",
    "JobStopped",
    "JobUnfinished",
    "OrchestratorError",
    "Result",
    "Status",
    "open_job",
    "plan",
    "read_job",
    "run",
    "submit",
]
