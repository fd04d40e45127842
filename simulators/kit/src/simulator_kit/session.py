"""Logins: a signed cookie names the subject. A login needs no store access and survives a restart."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from simulator_kit.store import Work

SESSION_SECONDS: Final = 12 * 3600


def key(work: Work) -> str:
    """The store's own signing key, made at the first start."""
    row = work.one("SELECT value FROM session_key")
    if row is not None:
        return str(row["value"])
    made = secrets.token_urlsafe(32)
    work.run("INSERT INTO session_key VALUES (?)", made)
    return made


class Signer:
    """Signs a purpose, a subject and an expiry."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign(self, purpose: str, subject: str, lifetime_seconds: float) -> str:
        claims = [purpose, subject, time.time() + lifetime_seconds, secrets.token_hex(4)]
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{body}.{self.mac(body)}"

    def subject(self, purpose: str, token: str | None) -> str | None:
        """The subject of a token that this signer made for `purpose` and that has not expired."""
        body, _, mac = (token or "").partition(".")
        if not mac or not hmac.compare_digest(mac.encode(), self.mac(body).encode()):
            return None
        meant, subject, expires_at, _nonce = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return str(subject) if meant == purpose and time.time() < expires_at else None

    def mac(self, text: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode().rstrip("=")


class Sessions:
    """One kind of login. Cookies ignore ports, so the cookie's name keeps simulators on one host apart."""

    def __init__(
        self,
        key: str,
        cookie: str,
        *,
        path: str = "/",
        same_site: Literal["strict", "lax"] = "strict",
        lifetime_seconds: int = SESSION_SECONDS,
    ) -> None:
        self._signer = Signer(key)
        self._cookie = cookie
        self._path = path
        self._same_site: Literal["strict", "lax"] = same_site
        self._lifetime_seconds = lifetime_seconds

    def subject(self, request: Request) -> str | None:
        """The subject that is logged in, or None."""
        return self._signer.subject(self._cookie, request.cookies.get(self._cookie))

    def begin(self, request: Request, response: Response, subject: str) -> None:
        response.set_cookie(
            self._cookie,
            self._signer.sign(self._cookie, subject, self._lifetime_seconds),
            max_age=self._lifetime_seconds,
            path=self._path,
            httponly=True,
            samesite=self._same_site,
            secure=request.url.scheme == "https",
        )

    def end(self, response: Response) -> None:
        response.delete_cookie(self._cookie, path=self._path)

    def form_token(self, request: Request) -> str:
        """The token that a form of this session must carry, so that no other site can send the form."""
        return self._signer.mac("form " + request.cookies.get(self._cookie, ""))

    def is_form_token(self, request: Request, given: str) -> bool:
        return hmac.compare_digest(self.form_token(request).encode(), given.encode())


def secret_hash(name: str, secret: str) -> bytes:
    """Salted but quick: a development simulator's secrets are published, and tests log in by the hundred."""
    return hashlib.blake2b(secret.encode(), key=hashlib.sha256(name.encode()).digest(), digest_size=32).digest()


def is_secret(name: str, secret: str, expected: bytes) -> bool:
    return hmac.compare_digest(secret_hash(name, secret), expected)
