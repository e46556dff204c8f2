"""The Celery application: `celery -A workers worker`, `... beat`, `... flower`."""

from workers.application import app

__all__ = ["app"]
