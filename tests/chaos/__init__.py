"""The chaos harness: kills, cuts, delays and duplicates parts of the suite, then counts at both outer ends."""
