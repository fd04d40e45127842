"""Free ports are not those that another call, a listener or an outgoing connection may have."""

import itertools
import socket
from pathlib import Path

import pytest

from local_stack import ports

OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_port_is_given_twice() -> None:
    found = [ports.free_port() for _ in range(100)]
    assert len(set(found)) == 100


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = ports.free_port()
    monkeypatch.setattr(ports, "_places", itertools.count(ports._PORTS.index(taken)))
    with socket.create_server(("127.0.0.1", taken)):
        assert ports.free_port() != taken


@pytest.mark.skipif(not OF_CONNECTIONS.exists(), reason="the range of outgoing connections is read from /proc")
def test_no_outgoing_connection_takes_such_a_port() -> None:
    lowest, highest = map(int, OF_CONNECTIONS.read_text().split())
    if lowest < ports._PORTS.stop:
        pytest.skip("this machine gives connections ports of our range")
    assert not lowest <= ports.free_port() <= highest
