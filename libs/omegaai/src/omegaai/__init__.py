"""OmegaAI as a partner: OAuth token, FHIR R4 client, change feed. Its readers are tolerant, its writers strict."""
