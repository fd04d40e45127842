"""The inbox: the stored mails, their pages, and the JSON that tests read."""

from pathlib import Path
from typing import Final

from mailsink.context import Services
from mailsink.inbox.pages import Inbox
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda services: Inbox(services).routes())
