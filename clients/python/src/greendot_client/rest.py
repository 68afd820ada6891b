"""REST calls. The connections stay open and are shared by all threads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import urllib3

from greendot_client.errors import ApiError

_URL = re.compile(r"(?:http|ws)(s?)://([^/].*?)(?:/ws)?/*")


class Answer(NamedTuple):
    """A successful answer. `data` is None if nothing has changed since `etag`."""

    data: dict[str, Any] | None
    etag: str | None


class Rest:
    """One server's REST routes. `url` may also be that of its WebSocket.

    Raises:
        ValueError: `url` is not an http, https, ws or wss URL.
    """

    def __init__(self, url: str, *, timeout: float, retries: int = 0) -> None:
        """`timeout`: seconds for each attempt. `retries`: attempts after the first one,
        if the server does not answer or says 503. All of Greendot's calls may be
        repeated."""
        self._base = http_url(url)
        self._pool = urllib3.PoolManager(
            timeout=timeout,
            retries=urllib3.Retry(
                retries,
                allowed_methods=None,
                status_forcelist={HTTPStatus.SERVICE_UNAVAILABLE},
                backoff_factor=0.2,
                raise_on_status=False,
            ),
        )

    def call(
        self, method: str, path: str, token: str, body: object = None
    ) -> dict[str, Any]:
        """The `data` of the answer.

        Raises:
            ApiError: the server refused the call.
            OSError: the server did not answer.
        """
        data = self.ask(method, path, token, body).data
        assert data is not None  # noqa: S101 - only with an ETag
        return data

    def ask(
        self,
        method: str,
        path: str,
        token: str,
        body: object = None,
        etag: str | None = None,
    ) -> Answer:
        """Like `call`, with the ETag of the answer. `etag` is that of an answer before.

        Raises:
            ApiError: the server refused the call.
            OSError: the server did not answer.
        """
        headers = {"Authorization": f"Bearer {token}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        if etag is not None:
            headers["If-None-Match"] = etag
        try:
            answer = self._pool.request(
                method,
                self._base + path,
                body=content,
                headers=headers,
                redirect=False,  # it would show the token to another server
            )
        except urllib3.exceptions.HTTPError as error:
            message = f"{self._base} did not answer: {error}"
            raise ConnectionError(message) from error
        return _read(answer.status, answer.headers, answer.data)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _read(status: int, headers: Mapping[str, str], text: bytes) -> Answer:
    etag = headers.get("ETag")
    if status == HTTPStatus.NOT_MODIFIED:
        return Answer(None, etag)
    if status == HTTPStatus.NO_CONTENT:
        return Answer({}, etag)
    try:
        content = json.loads(text)
        if status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            data: dict[str, Any] = content["data"]
            return Answer(data, etag)
        code, message = content["error"]["code"], content["error"]["message"]
    except (ValueError, LookupError, TypeError):
        code, message = "", "the answer is not in Greendot's format"
    raise ApiError(status, code, message)


def http_url(url: str) -> str:
    """The http or https URL of a server, without a slash at the end.

    Raises:
        ValueError: `url` is not an http, https, ws or wss URL.
    """
    found = _URL.fullmatch(url)
    if found is None:
        message = f"{url!r} does not begin with http://, https://, ws:// or wss://"
        raise ValueError(message)
    return f"http{found[1]}://{found[2]}"
