"""WebSocket connections (RFC 6455): the route, the handshake, frames in and out."""
