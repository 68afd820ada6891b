"""Celery tasks: broadcast transitions, expire users, announce changes of the graph."""
