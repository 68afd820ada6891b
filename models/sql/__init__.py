"""The host application's graph in SQL: users, friendships, conversations, and who is
relevant to whom. Knows nothing of Redis."""
