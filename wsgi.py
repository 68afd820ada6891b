"""The application for gunicorn: `gunicorn -c python:app.server.gunicorn_config
wsgi:app`."""

from app.factory import create_app
from config import settings_or_exit
from models.telemetry import logs

settings = settings_or_exit()
# For `flask` commands. `app.server.gunicorn_config` does it for a web process.
logs.configure(settings)
app = create_app(settings)
