"""Shared by the pages of every service: the layout, the guard in front of the routes, and the operator's console."""
