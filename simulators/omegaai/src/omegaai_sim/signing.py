"""Tokens and cookies: a purpose, a subject and an expiry, signed; nothing to look up, and a restart forgets none."""

import base64
import hashlib
import hmac
import json
import secrets
import time


class Signer:
    """Signs with the store's own key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign(self, purpose: str, subject: str, lifetime_seconds: float) -> str:
        claims = [purpose, subject, time.time() + lifetime_seconds, secrets.token_hex(4)]
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{body}.{self._mac(body)}"

    def subject(self, purpose: str, token: str | None) -> str | None:
        """The subject of a token that this signer gave for ``purpose`` and that has not expired."""
        body, _, mac = (token or "").partition(".")
        if not mac or not hmac.compare_digest(mac.encode(), self._mac(body).encode()):
            return None
        meant, subject, expires_at, _nonce = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return str(subject) if meant == purpose and time.time() < expires_at else None

    def form_token(self, session: str) -> str:
        """What a form of this session has to bring along, so that no other site can send it."""
        return self._mac("form " + session)

    def is_form_token(self, session: str, given: str) -> bool:
        return hmac.compare_digest(self.form_token(session).encode(), given.encode())

    def _mac(self, body: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, body.encode(), "sha256")).decode().rstrip("=")


def secret_hash(name: str, secret: str) -> bytes:
    """Salted, but quick: a development stand-in's secrets are published, and logins come by the hundred."""
    return hashlib.blake2b(secret.encode(), key=hashlib.sha256(name.encode()).digest(), digest_size=32).digest()


def is_secret(name: str, secret: str, expected: bytes) -> bool:
    return hmac.compare_digest(secret_hash(name, secret), expected)
