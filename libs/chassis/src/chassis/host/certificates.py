"""Watches how long our certificates are valid, as a gauge for alarms, and loads renewed files."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from chassis.clock import utc_now
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters

LOOK_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Certificate:
    """A PEM file with our certificate (and its chain), and its key.

    ``use`` is the gauge's label, ``setting`` the name in log lines. ``context`` was loaded from the files and gets
    renewed ones; None where the user of the files reloads them itself.
    """

    use: str
    setting: str
    file: Path
    key_file: Path
    context: ssl.SSLContext | None = None


def expiry_of(pem: bytes) -> datetime:
    """When the first certificate of a PEM file expires. ValueError when it holds none."""
    return min(found.not_valid_after_utc for found in x509.load_pem_x509_certificates(pem))


def expiry_of_der(der: bytes) -> datetime:
    """When a partner's certificate expires. ValueError when it is none."""
    return x509.load_der_x509_certificate(der).not_valid_after_utc


class CertificateWatch(LoopBase):
    """Keeps ``tls_certificate_expires_in_seconds``: the time until the first certificate of a file expires.

    The gauge reports the certificate in force: while a file cannot be used (half written, without its key), the former
    certificate's time runs on. It is 0 where none could ever be read.
    """

    def __init__(
        self, certificates: Sequence[Certificate], metrics: Metrics, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        super().__init__()
        self._certificates = certificates
        self._metrics = metrics
        self._now = now
        self._content: dict[str, bytes] = {}
        self._expires_at: dict[str, datetime] = {}
        self._problem: dict[str, str] = {}

    async def run(self) -> None:
        while not self.stopping:
            self.look()
            await self.pause(LOOK_SECONDS)

    def look(self) -> None:
        """Reads the files again and sets the gauge."""
        for one in self._certificates:
            try:
                self._read(one)
            except (OSError, ValueError) as error:  # an SSLError is an OSError
                self._say(one, _reason(error))
            else:
                self._problem.pop(one.use, None)
            expires_at = self._expires_at.get(one.use)
            left = 0.0 if expires_at is None else (expires_at - self._now()).total_seconds()
            self._metrics.set(meters.TLS_CERTIFICATE_EXPIRES_IN_SECONDS, left, use=one.use)

    def _read(self, one: Certificate) -> None:
        content = one.file.read_bytes()
        if content == self._content.get(one.use):
            return
        expires_at = expiry_of(content)
        # Loaded into a separate context first: a context that takes the certificate and not its key could show neither
        # the new nor the former one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(one.file, one.key_file)
        if one.context is not None:
            one.context.load_cert_chain(one.file, one.key_file)
        self._content[one.use], self._expires_at[one.use] = content, expires_at
        log.info("certificates.read", setting=one.setting, expires_at=expires_at.isoformat())

    def _say(self, one: Certificate, reason: str) -> None:
        """Logs once while the fault lasts."""
        if self._problem.get(one.use) != reason:
            self._problem[one.use] = reason
            log.error("certificates.unusable", setting=one.setting, reason=reason)


def _reason(error: OSError | ValueError) -> str:
    match error:
        case ssl.SSLError():
            return error.reason or "not a certificate with its key"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return "no certificate in PEM"
