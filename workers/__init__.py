"""This repository's Celery app: `celery -A workers`. The fleet itself is the library `orchestrator.fleet`."""

from orchestrator.fleet.app import app

__all__ = ["app"]
