"""The header of a proxy at a real web server, and what workers note for the page."""

from __future__ import annotations

import re
from contextlib import closing
from http.client import HTTPConnection
from uuid import uuid4

import pytest

from tests.clients import Client
from tests.system import wait_until

pytestmark = pytest.mark.e2e


def test_a_proxy_names_the_operator_who_sees_a_user_come(system):
    user = f"olga-{uuid4().hex[:8]}"
    settings = {
        "PRESENCE_ADMIN_HEADER": "X-Forwarded-User",
        "PRESENCE_ADMIN_PROXIES": "127.0.0.1",
    }
    with system.another_web(**settings) as web:
        port = system.web_ports[web]

        def state(**headers: str) -> tuple[int, str]:
            named = {name.replace("__", "-"): value for name, value in headers.items()}
            with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as http:
                http.request("GET", "/admin/state", headers=named)
                answer = http.getresponse()
                return answer.status, answer.read().decode()

        assert state()[0] == 401
        # The web server drops headers with underscores: a proxy would let them pass.
        assert state(X_Forwarded_User="eve")[0] == 401

        def recent() -> list[str]:
            status, html = state(X__Forwarded__User="olga")
            assert status == 200
            return re.findall(rf">{user}</a> <span class=\"what\">(\w+)<", html)

        with Client(system, user).opened() as client:
            wait_until(lambda: recent() == ["online"])
            client.send("leave")
        wait_until(lambda: recent() == ["offline", "online"])
