"""Time zones that an organisation may be in: the IANA name, and the Windows name that RamSoft writes beside it."""

from typing import Final

ZONES: Final = {
    "America/St_Johns": "Newfoundland Standard Time",
    "America/Halifax": "Atlantic Standard Time",
    "America/Toronto": "Eastern Standard Time",
    "America/New_York": "Eastern Standard Time",
    "America/Winnipeg": "Central Standard Time",
    "America/Chicago": "Central Standard Time",
    "America/Edmonton": "Mountain Standard Time",
    "America/Denver": "Mountain Standard Time",
    "America/Phoenix": "US Mountain Standard Time",
    "America/Vancouver": "Pacific Standard Time",
    "America/Los_Angeles": "Pacific Standard Time",
    "Europe/London": "GMT Standard Time",
    "Europe/Berlin": "W. Europe Standard Time",
    "UTC": "UTC",
}
