"""What the simulators share. It uses no code of the suite, and the suite's services never use it."""
