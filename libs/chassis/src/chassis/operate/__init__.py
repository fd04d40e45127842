"""The command line of every service. ``inbox`` and ``hl7`` hold the commands of intakes; a service names its own."""

from chassis.operate import hl7, inbox
from chassis.operate.cli import ExtraCommand, ServiceDefinition, main
from chassis.operate.common import Commands, logged_in_user

__all__ = [
    "Commands",
    "ExtraCommand",
    "ServiceDefinition",
    "hl7",
    "inbox",
    "logged_in_user",
    "main",
]
