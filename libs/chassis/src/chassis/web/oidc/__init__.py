"""Log-in through an OpenID Connect provider: authorization code flow with PKCE, then a session of our own."""

from chassis.web.oidc.claims import LogInRefused
from chassis.web.oidc.login import LogIn
from chassis.web.oidc.provider import Provider, ProviderAway, WrongProvider

__all__ = ["LogIn", "LogInRefused", "Provider", "ProviderAway", "WrongProvider"]
