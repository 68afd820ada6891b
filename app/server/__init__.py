"""gunicorn's side: its configuration, its worker class, and how many sockets it takes.

This package knows nothing of what is served.
"""
