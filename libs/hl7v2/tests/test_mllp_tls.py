"""TLS and mutual TLS, with certificates made on the spot: the right ones pass, foreign and expired ones do not."""

import ssl
from collections.abc import Awaitable
from pathlib import Path

import pytest

from chassis.testing.certificates import Authority
from hl7v2 import Ack, Message, build_ack
from hl7v2.mllp import Client, ConnectionLost, Peer, Server, client_context, server_context, start_server

MESSAGE = b"MSH|^~\\&|SUITE|N|RAMSOFT|FAC01|2026||SIU^S14|1|P|2.3.1\r"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "foreign")


class Handler:
    def __init__(self) -> None:
        self.peers: list[Peer] = []

    async def __call__(self, content: bytes, peer: Peer) -> bytes:
        self.peers.append(peer)
        return build_ack(Message.parse(content), "AA", control_id="A").to_bytes()


async def exchanged(server: Awaitable[Server], context: ssl.SSLContext | None, host: str = "127.0.0.1") -> Ack:
    async with (
        await server as listening,
        Client(host, listening.port, ssl=context, ack_timeout_seconds=60) as client,
    ):
        ack = await client.send(MESSAGE, control_id="1")
        return ack if ack.code != "AA" else await client.send(MESSAGE, control_id="1")


async def test_tls(authority: Authority):
    handler = Handler()
    server = start_server(handler, "127.0.0.1", 0, ssl=server_context(*authority.issue("server")))
    ack = await exchanged(server, client_context(authorities=authority.path))
    assert ack.code == "AA"
    assert [peer.common_name for peer in handler.peers] == [None, None]


async def test_mutual_tls_names_the_client(authority: Authority):
    handler = Handler()
    context = server_context(*authority.issue("server"), client_authorities=authority.path)
    certificate, key = authority.issue("powerserver")
    ack = await exchanged(
        start_server(handler, "127.0.0.1", 0, ssl=context),
        client_context(authorities=authority.path, certificate=certificate, key=key),
    )
    assert ack.code == "AA"
    assert {peer.common_name for peer in handler.peers} == {"powerserver"}


@pytest.mark.parametrize("fault", ["foreign server", "expired server", "wrong name", "plain client", "system trust"])
async def test_server_that_is_not_to_be_trusted(authority: Authority, foreign: Authority, fault: str):
    handler = Handler()
    issuer = foreign if fault == "foreign server" else authority
    files = issuer.issue("server", days=-1 if fault == "expired server" else 30)
    context = client_context(authorities=None if fault == "system trust" else authority.path)
    host = "127.0.0.2" if fault == "wrong name" else "127.0.0.1"
    server = start_server(handler, host, 0, ssl=server_context(*files))
    with pytest.raises(ConnectionLost):
        await exchanged(server, None if fault == "plain client" else context, host)
    assert handler.peers == []


@pytest.mark.parametrize("fault", ["none", "foreign", "expired"])
async def test_client_that_is_not_to_be_trusted(authority: Authority, foreign: Authority, fault: str):
    handler = Handler()
    context = server_context(*authority.issue("server"), client_authorities=authority.path)
    issuer = foreign if fault == "foreign" else authority
    certificate, key = issuer.issue("powerserver", days=-1 if fault == "expired" else 30)
    shown = (None, None) if fault == "none" else (certificate, key)
    with pytest.raises(ConnectionLost):
        await exchanged(
            start_server(handler, "127.0.0.1", 0, ssl=context),
            client_context(authorities=authority.path, certificate=shown[0], key=shown[1]),
        )
    assert handler.peers == []
