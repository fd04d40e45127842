"""Recovers a store that was set back, or is gone, from its topics and OmegaAI."""
