"""The worker fleet: Celery on Redis."""
