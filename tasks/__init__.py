"""What runs in Celery: the fan-out of transitions and the expiry of what is due."""
