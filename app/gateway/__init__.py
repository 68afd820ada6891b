"""One web process's part in presence: its connections, and what it reports to Redis."""
