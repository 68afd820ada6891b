"""The only code that touches redis-py: clients, round trips, and which server holds
a shard."""
