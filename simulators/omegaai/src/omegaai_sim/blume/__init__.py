"""Blume, the patients' portal: accounts, cards, notifications and their pages."""
