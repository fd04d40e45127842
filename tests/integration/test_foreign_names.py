"""A site whose name points to this machine cannot read a page of the stack or act on one (DNS rebinding)."""

import http.client

import pytest

from roster import roster

pytestmark = pytest.mark.stack
PAGES = {
    **{service.name: "/console" for service in roster().services},
    "notifier": "/messages",
    **{simulator.name: "/ledger" for simulator in roster().simulators},
}


def status(suite, name: str, host: str) -> int:
    port = suite.ports[name]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest("GET", PAGES[name], skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PAGES)
def test_pages_answer_to_their_own_names_alone(suite, name) -> None:
    for host in ("127.0.0.1", "localhost:8101", name):
        assert status(suite, name, host) in {200, 303}, host
    for host in ("evil.example", f"{name}.evil.example", "127.0.0.1.evil.example:8101"):
        assert status(suite, name, host) in {400, 421}, host
