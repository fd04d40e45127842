"""Keeps the appointments of PowerServer and OmegaAI in step."""
