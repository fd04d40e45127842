"""The command line of every service."""

from chassis.operate.cli import ExtraCommand, ServiceDefinition, logged_in_user, main

__all__ = [
    "ExtraCommand",
    "ServiceDefinition",
    "logged_in_user",
    "main",
]
