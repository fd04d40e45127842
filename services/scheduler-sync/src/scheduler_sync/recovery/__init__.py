"""A store that was set back, or is gone, made whole again from what its topics and OmegaAI hold."""
