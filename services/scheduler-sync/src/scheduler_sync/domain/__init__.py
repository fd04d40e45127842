"""The rules of an appointment that lives in two systems: plain Python, no I/O, no framework."""
