"""The address that a limit counts: how far X-Forwarded-For is believed."""

from __future__ import annotations

import pytest

from app.limits import client_address

PEER = "10.0.0.9"


@pytest.mark.parametrize(
    ("forwarded", "proxies", "expected"),
    [
        ("", 0, PEER),
        ("1.2.3.4", 0, PEER),
        ("1.2.3.4", 1, "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", 1, "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.0.0.8", 2, "1.2.3.4"),
        ("1.2.3.4", 2, PEER),
        ("", 1, PEER),
        (" , 1.2.3.4 ,", 1, "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", 1, "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", 1, "1.2.3.4"),
        ("unknown", 1, "unknown"),
        ("x" * 5000, 1, "x" * 100),
    ],
)
def test_only_trusted_proxies_are_believed(forwarded, proxies, expected):
    assert client_address(PEER, forwarded, proxies) == expected
