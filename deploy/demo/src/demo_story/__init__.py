"""Plays the guide's story on a running stack, through the pages' own requests, and counts at both ends."""
