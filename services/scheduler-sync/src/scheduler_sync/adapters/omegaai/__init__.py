"""OmegaAI over OAuth 2 and FHIR R4: tolerant when it reads, strict when it writes."""
