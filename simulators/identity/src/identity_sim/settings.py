"""Settings, and the refusal to run where the simulator could be taken for a real provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from simulator_kit.options import Options

PREFIX: Final = "IDENTITY_SIM_"
THIS_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Refused(Exception):  # noqa: N818 - what it does
    """The settings are refused; the text gives the reason in one line."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The provider's settings.

    `issuer` is the provider's address as a browser on this machine sees it; without an issuer, the listening port.
    `redirects` lists the addresses to which a code may be sent. An entry on this machine without a port allows any port
    (RFC 8252 section 7.3); all other entries are compared character by character.
    """

    host: str = "127.0.0.1"
    http_port: int = 8204
    data_dir: Path = Path(".local/identity")
    issuer: str = ""
    client_secret: str = "development-secret"  # noqa: S105 - everybody may know it
    redirects: str = "http://127.0.0.1/login/callback http://localhost/login/callback"
    logouts: str = "http://127.0.0.1/logged-out http://localhost/logged-out"
    code_seconds: float = 60.0

    @property
    def address(self) -> str:
        return self.issuer or f"http://127.0.0.1:{self.http_port}"


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """From options, environment and defaults. Raises `Refused`."""
    defaults = Settings()
    options = Options("identity_sim", PREFIX, "A provider that lets anybody in, for development.", environment)
    options.add("host", defaults.host, "address to listen on")
    options.add("http_port", defaults.http_port, "port", int)
    options.add("data_dir", defaults.data_dir, "folder of the ledger", Path)
    options.add("issuer", defaults.issuer, "its address as the browser knows it")
    options.add("client_secret", defaults.client_secret, "secret of every client")
    options.add("redirects", defaults.redirects, "where a code may be sent, separated by blanks")
    options.add("logouts", defaults.logouts, "where a browser may be sent after log-out")
    options.add("code_seconds", defaults.code_seconds, "how long a code may be exchanged", float)
    settings = Settings(**options.read(arguments))
    productive = [name for name, value in environment.items() if name.endswith("ENVIRONMENT") and value == "production"]
    if productive:
        raise Refused(f"{productive[0]} says production: this provider lets anybody in as an admin")
    place = urlsplit(settings.address)
    if place.scheme != "http" or place.hostname not in THIS_MACHINE:
        raise Refused(
            f"the issuer {settings.address} is not on this machine: this provider lets anybody in as an admin"
        )
    return settings


def allows(entries: str, given: str) -> bool:
    """Whether `given` is one of the addresses, as `Settings` compares them."""
    return any(given == entry or _without_port(given) == entry for entry in entries.split())


def _without_port(address: str) -> str | None:
    """An address on this machine without its port; None for any other."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or parts.hostname not in THIS_MACHINE or port is None or "@" in parts.netloc:
        return None
    return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()
