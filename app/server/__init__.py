"""How gunicorn runs a web process."""
