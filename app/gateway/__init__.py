"""The WebSocket side of one web process: a gateway."""
