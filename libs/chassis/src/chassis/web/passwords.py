"""People by HTTP Basic: names with roles and passwords, for a site without an identity provider."""

import base64
import binascii
import hashlib
import hmac

from chassis.settings import HttpSettings
from chassis.web.access import Person, Role


class Passwords:
    """The people that the settings name. False when they name none."""

    def __init__(self, http: HttpSettings) -> None:
        self._wanted = [
            (digest(f"{name}:{password}".encode()), Person(name, Role(role))) for name, role, password in http.named()
        ]

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def person(self, authorization: str) -> Person | None:
        """The person whose name and password an Authorization header holds."""
        given, found = digest(_credentials(authorization)), None
        for wanted, person in self._wanted:  # compares with all, so that the duration reveals nothing
            if hmac.compare_digest(given, wanted):
                found = person
        return found


def digest(text: bytes) -> bytes:
    """A digest of fixed length, so that every comparison takes as long."""
    return hashlib.sha256(text).digest()


def _credentials(given: str) -> bytes:
    """The user and password of an Authorization header; empty when it holds none."""
    scheme, _, encoded = given.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
