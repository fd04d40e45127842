"""The client of OmegaAI: OAuth token, FHIR R4 client, change feed. It reads tolerantly and writes strictly."""
