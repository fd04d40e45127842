"""Tells patients what happened to their appointments; by e-mail, for now."""
