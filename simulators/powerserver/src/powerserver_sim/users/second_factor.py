"""The second factor of a login: the codes of an authenticator (RFC 6238). Each function is one write, or one query."""

import base64
import hmac
import struct
from datetime import timedelta
from typing import Final, Literal

from simulator_kit.store import Work

STEP_SECONDS: Final = 30
_DIGITS: Final = 6
_MOST_WRONG: Final = 5
BLOCKED_FOR: Final = timedelta(minutes=5)
"""A user whose codes were wrong five times in a row waits this long."""

Outcome = Literal["right", "wrong", "blocked"]


def code_at(secret: str, step: int) -> str:
    """The code of a step: whole half-minutes since 1970."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 0xF
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**_DIGITS:0{_DIGITS}d}"


def code_now(work: Work, user: str) -> str:
    """What the user's authenticator shows: the development pages print it, as they print the passwords."""
    row = work.one("SELECT secret FROM second_factor WHERE user = ?", user)
    return "" if row is None else code_at(row["secret"], int(work.now.timestamp()) // STEP_SECONDS)


def take(work: Work, user: str, given: str) -> Outcome:
    """Check a code, of this step or of its neighbours: the authenticator's clock may be off. A code counts once."""
    row = work.one("SELECT * FROM second_factor WHERE user = ?", user)
    if row is None:
        return "wrong"
    now = int(work.now.timestamp())
    if now < row["blocked_until"]:
        return "blocked"
    step = now // STEP_SECONDS
    for near in (step - 1, step, step + 1):
        if near > row["last_step"] and hmac.compare_digest(code_at(row["secret"], near).encode(), given.encode()):
            work.run("UPDATE second_factor SET last_step = ?, wrong_codes = 0 WHERE user = ?", near, user)
            return "right"
    is_last = row["wrong_codes"] + 1 >= _MOST_WRONG
    work.run(
        "UPDATE second_factor SET wrong_codes = ?, blocked_until = ? WHERE user = ?",
        0 if is_last else row["wrong_codes"] + 1,
        now + int(BLOCKED_FOR.total_seconds()) if is_last else 0,
        user,
    )
    return "blocked" if is_last else "wrong"
