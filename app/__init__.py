"""The web side: the gateway with its sockets, the REST routes and the commands."""
