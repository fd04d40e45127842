"""TLS and mutual TLS, with certificates made on the spot: the right ones pass, foreign and expired ones do not."""

import ssl
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hl7v2 import Ack, Message, build_ack
from hl7v2.mllp import Client, ConnectionLost, Peer, Server, client_context, server_context, start_server

MESSAGE = b"MSH|^~\\&|SUITE|N|RAMSOFT|FAC01|2026||SIU^S14|1|P|2.3.1\r"


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self.name, self.key.public_key(), is_authority=True, days=30)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, days: int = 30) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), is_authority=False, days=days)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool, days: int
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


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
        Client(host, listening.port, ssl=context, ack_timeout_seconds=5) as client,
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
