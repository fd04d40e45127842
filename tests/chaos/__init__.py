"""The chaos harness: kills, cuts, delays and doubles what the suite is made of, then counts at both outer ends."""
