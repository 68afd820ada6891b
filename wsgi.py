"""The application for gunicorn: `gunicorn -c python:app.server.gunicorn_config
wsgi:app`."""

from app.factory import create_app
from config import settings_or_exit

app = create_app(settings_or_exit())
