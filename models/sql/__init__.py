"""The host application's graph in SQL: users, friendships, conversations, and which
users are relevant to each other. Imports no Redis."""
