"""The languages of messages. A language is an entry here and a folder of templates of the same name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

DEFAULT = "en"


@dataclass(frozen=True)
class Language:
    """How dates are written. ``date_pattern`` knows weekday, day, month and year."""

    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    date_pattern: str

    def long_date(self, at: datetime) -> str:
        return self.date_pattern.format(
            weekday=self.weekdays[at.weekday()], day=at.day, month=self.months[at.month - 1], year=at.year
        )


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "en": Language(
            weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
            months=(
                "January",
                "February",
                "March",
                "April",
                "May",
                "June",
                "July",
                "August",
                "September",
                "October",
                "November",
                "December",
            ),
            date_pattern="{weekday}, {day} {month} {year}",
        ),
    }
)


def best_language(wanted: str) -> str:
    """The nearest available language for a BCP 47 tag: ``fr-CA`` → ``fr-ca`` → ``fr`` → the default."""
    tag = wanted.strip().lower().replace("_", "-")
    while tag:
        if tag in LANGUAGES:
            return tag
        tag = tag.rpartition("-")[0]
    return DEFAULT
