"""The fixtures that every member's tests share."""

from hypothesis import settings

# How long one example takes says how busy the machine is: pytest's own time limit is what ends a test that hangs.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

pytest_plugins = ["local_stack.fixtures", "local_stack.running"]
