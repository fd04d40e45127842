"""An OpenID Connect provider for development: it is strict with clients and lets any person in."""
