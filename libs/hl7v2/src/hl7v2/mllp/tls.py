"""TLS for MLLP, 1.2 and above: the server's certificate, and the client's with mutual TLS."""

import contextlib
import ssl
from pathlib import Path


def server_context(certificate: Path, key: Path, *, client_authorities: Path | None = None) -> ssl.SSLContext:
    """For ``start_server``. All files are PEM.

    With ``client_authorities``, a client without a certificate of these authorities is refused. A certificate renewed
    in place is shown to the next client without a restart; an unreadable one (half written) leaves the former in force.
    """
    files = tuple(path for path in (certificate, key, client_authorities) if path is not None)

    def loaded() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        if client_authorities is not None:
            context.load_verify_locations(client_authorities)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def state() -> list[tuple[int, int]]:
        return [(found.st_mtime_ns, found.st_ino) for found in (path.stat() for path in files)]

    current, seen = loaded(), state()

    def renew(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        nonlocal current, seen
        with contextlib.suppress(OSError):  # SSLError is a subclass of OSError
            if (now := state()) != seen:
                current, seen = loaded(), now
        connection.context = current

    first = current
    first.sni_callback = renew
    return first


def client_context(
    *, authorities: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """For ``Client``: checks the server's certificate and name, and shows ``certificate`` to a server that asks.

    ``authorities`` defaults to the system's.
    """
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
