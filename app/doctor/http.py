"""One HTTP call of `flask doctor`."""

from __future__ import annotations

from collections.abc import Mapping

import urllib3

SECONDS = 10.0
STATUS_PATH = "/api/friends/online-status"


def ask(
    method: str, url: str, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """The status, the headers and the body of the answer. Follows no redirect.

    Raises:
        urllib3.exceptions.HTTPError: there is no answer.
    """
    answer = urllib3.request(
        method, url, headers=headers, timeout=SECONDS, retries=False, redirect=False
    )
    return answer.status, answer.headers, answer.data
