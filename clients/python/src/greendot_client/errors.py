"""What can go wrong, apart from `OSError` for a server that does not answer."""

from __future__ import annotations


class Denied(Exception):
    """The user has no access: 4401 means sign in again, 4403 is final. The server has
    said so, or (4401) the token function gave no token."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or f"the server denied access with close code {code}")
        self.code = code


class ApiError(Exception):
    """The server refused a REST call. `code` and `message` are the server's. `code` is
    empty if the answer came from something else, such as a proxy."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"the server answered {status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class InvalidWebhook(ValueError):
    """A request is no webhook of Greendot's, or it is too old. Answer it with 401."""
