"""Only RFC 6455: the handshake, frames in and out, one writer per socket.

This package knows nothing about users or presence. `app.gateway` builds on it.
"""
