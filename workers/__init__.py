"""This repository's Celery app, for those who start Celery themselves; the fleet is the library `orchestrator.fleet`.

celery -A workers worker -Q control,transfer,plan,collect
celery -A workers beat
"""

from orchestrator.fleet.app import app
from orchestrator.fleet.start import serve_celery_commands

serve_celery_commands()

__all__ = ["app"]
