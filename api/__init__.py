"""The Flask application: `flask --app api run`, `gunicorn 'api:create_app()'`."""

from api.application import create_app

__all__ = ["create_app"]
