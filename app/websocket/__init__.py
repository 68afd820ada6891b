"""RFC 6455 and nothing else: the handshake, frames in and out, one writer per socket.

This package knows nothing of users or presence. `app.gateway` builds on it.
"""
