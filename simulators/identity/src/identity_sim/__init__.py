"""An OpenID Connect provider for development: strict with its clients, and it lets anybody in."""
