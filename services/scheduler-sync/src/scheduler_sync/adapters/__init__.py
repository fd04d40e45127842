"""The two partners' protocols, each translated to and from the domain's words in one place."""
