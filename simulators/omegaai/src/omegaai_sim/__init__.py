"""A simulator of OmegaAI (FHIR, OAuth 2, events) and its Blume portal, for development (docs/architecture/wire.md)."""
