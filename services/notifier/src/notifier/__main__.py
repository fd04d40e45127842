"""``python -m notifier``: run, migrate, topics, and the operator's commands."""

import sys

from chassis.cli import ServiceDefinition, main
from notifier import bootstrap
from notifier.settings import NotifierSettings

DEFINITION = ServiceDefinition(
    name=bootstrap.NAME,
    settings_type=NotifierSettings,
    build=bootstrap.build,
    migrations=bootstrap.MIGRATIONS,
    destinations=bootstrap.DESTINATIONS,
)

if __name__ == "__main__":
    sys.exit(main(DEFINITION))
