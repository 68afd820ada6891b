"""One web process's part in presence: its connections and what it tells Redis."""
