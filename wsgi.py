"""What gunicorn serves: `gunicorn -c python:app.serve wsgi:app`."""

from app.factory import create_app
from config import Settings

app = create_app(Settings.from_env())
