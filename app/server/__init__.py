"""gunicorn's part: its configuration, its worker class, and how many sockets it takes.

This package knows nothing about users or presence.
"""
