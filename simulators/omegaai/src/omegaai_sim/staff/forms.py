"""Forms of the staff's pages: what was entered, and a sentence for each field that is wrong."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.datastructures import FormData

from simulator_kit import web

LONGEST_TEXT: Final = 200


class WrongError(Exception):
    """An entry is wrong. `problems` has a sentence for each field; the name `""` stands for the whole form."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


class Entries:
    """What a person entered. Each reader notes what is wrong; `check` raises all of it at once."""

    def __init__(self, form: FormData) -> None:
        self._form = form
        self.problems: dict[str, str] = {}

    def shown(self, lists: Iterable[str] = (), ticks: Iterable[str] = ()) -> dict[str, Any]:
        """The entries as they are shown again beside the problems."""
        return {
            **{name: value for name, value in self._form.items() if isinstance(value, str)},
            **{name: self.several(name) for name in lists},
            **{name: self.is_ticked(name) for name in ticks},
        }

    def wrong(self, field: str, sentence: str) -> None:
        self.problems.setdefault(field, sentence)

    def check(self) -> None:
        if self.problems:
            raise WrongError(self.problems)

    def is_ticked(self, field: str) -> bool:
        return field in self._form

    def several(self, field: str) -> list[str]:
        return [one for one in self._form.getlist(field) if isinstance(one, str)]

    def text(self, field: str, label: str, *, required: bool = False, longest: int = LONGEST_TEXT) -> str:
        found = web.text_of(self._form, field)
        if required and not found:
            self.wrong(field, f"Enter the {label}.")
        if len(found) > longest:
            self.wrong(field, f"The {label} has at most {longest} characters.")
        if not found.isprintable():
            self.wrong(field, f"The {label} has characters that cannot be shown.")
        return found

    def choice(self, field: str, label: str, choices: Mapping[str, object] | tuple[str, ...]) -> str:
        found = web.text_of(self._form, field)
        if found not in choices:
            self.wrong(field, f"Choose the {label}.")
        return found

    def number(self, field: str, label: str, low: int, high: int) -> int | None:
        """A whole number; None where the field is empty."""
        found = web.text_of(self._form, field)
        if not found:
            return None
        if found.isascii() and found.isdecimal() and len(found) <= len(str(high)) and low <= int(found) <= high:
            return int(found)
        self.wrong(field, f"The {label} is a whole number from {low} to {high}.")
        return None

    def degrees(self, field: str, label: str, most: int) -> float | None:
        """An angle with at most six decimals; None where the field is empty."""
        found = web.text_of(self._form, field)
        if not found:
            return None
        try:
            angle = float(found) if found.isascii() and len(found) <= 20 else None
        except ValueError:
            angle = None
        if angle is None or not -most <= angle <= most:
            self.wrong(field, f"The {label} is a number of degrees from -{most} to {most}.")
            return None
        return round(angle, 6)
