"""The shared code of the simulators. It uses no code of the suite, and the suite's services never use it."""
