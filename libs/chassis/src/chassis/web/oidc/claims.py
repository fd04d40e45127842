"""The checks of an ID token before a person is let in. Each refusal is one clear line without a value of the token."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chassis.settings import OidcSettings
from chassis.web.access import Person, Role

LONGEST_NAME: Final = 80
LONGEST_SUBJECT: Final = 255


class LogInRefused(Exception):  # noqa: N818 (what happened)
    """The provider's answer lets nobody in; the text is for the person and for the log."""


def check(claims: Mapping[str, Any], settings: OidcSettings, *, nonce: str, now: float) -> None:
    """Raises ``LogInRefused`` unless the token is from our provider, for us, for this log-in, and valid now."""
    if claims.get("iss") != settings.issuer:
        raise LogInRefused("The ID token comes from another issuer than HTTP__OIDC__ISSUER.")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or settings.client_id not in audiences:
        raise LogInRefused("The ID token is for another client than HTTP__OIDC__CLIENT_ID.")
    authorized = claims.get("azp")
    if (len(audiences) > 1 or authorized is not None) and authorized != settings.client_id:
        raise LogInRefused("The ID token was issued to another client than HTTP__OIDC__CLIENT_ID.")
    if claims.get("nonce") != nonce:
        raise LogInRefused("The ID token belongs to another log-in than this browser's.")
    _check_times(claims, settings.leeway_seconds, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise LogInRefused("The ID token names nobody (claim sub).")


def _check_times(claims: Mapping[str, Any], leeway_seconds: float, now: float) -> None:
    expires, issued, begins = (_time(claims.get(name)) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None:
        raise LogInRefused("The ID token does not say when it was issued and when it ends (claims iat, exp).")
    if now >= expires + leeway_seconds:
        raise LogInRefused(f"The ID token ended {now - expires:.0f} s ago by this service's clock: is a clock wrong?")
    ahead = max(issued, begins or issued) - now
    if ahead > leeway_seconds:
        raise LogInRefused(f"The ID token begins {ahead:.0f} s from now by this service's clock: is a clock wrong?")


def _time(value: object) -> float | None:
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11
    return float(value) if is_time else None  # type: ignore[arg-type]  # mypy does not follow is_time


def person_of(claims: Mapping[str, Any], settings: OidcSettings, log_out: str) -> Person:
    """The person named by checked claims. Raises ``LogInRefused`` when the claims hold no role."""
    role = role_of(claims, settings)
    subject = claims["sub"]
    name = next((claims[one] for one in ("preferred_username", "name") if isinstance(claims.get(one), str)), subject)
    shown = "".join(sign for sign in name if sign.isprintable()).strip()[:LONGEST_NAME]
    return Person(shown or subject[:LONGEST_NAME], role, subject, log_out)


def role_of(claims: Mapping[str, Any], settings: OidcSettings) -> Role:
    """The highest role among the claim's values."""
    name = settings.role_claim
    said = _found(claims, name)
    values = [said] if isinstance(said, str) else said
    if not isinstance(values, Sequence) or not values:
        raise LogInRefused(
            f"The identity provider says nothing in the claim {name} (HTTP__OIDC__ROLE_CLAIM): "
            "ask its administrator to give you a role and to put it into the ID token."
        )
    known = settings.roles_by_value()
    roles = [Role(known[value]) for value in values if isinstance(value, str) and value in known]
    if not roles:
        raise LogInRefused(
            f"Nothing in the claim {name} is a role here (HTTP__OIDC__ROLES): ask its administrator to give you one."
        )
    return max(roles, key=list(Role).index)


def _found(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path of names between dots, such as ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
