"""The FHIR R4 endpoint: definitions, validation, dialect, store and routes."""
