"""The fixtures that every member's tests share."""

pytest_plugins = ["local_stack.fixtures", "local_stack.running"]
