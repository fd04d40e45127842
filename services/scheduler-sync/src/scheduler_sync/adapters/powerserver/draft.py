"""A message while it is written: values are put at the places of the site's mapping, then segments in HL7's order."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from hl7v2 import Message
from scheduler_sync.mapping import Place

Text: TypeAlias = str | None
Value: TypeAlias = Text | Sequence[Text]
Fields: TypeAlias = dict[int, Any]
"""By a field's number, values as ``Message.add`` takes them."""

_BEFORE: Final = {"siu": ("SCH", "TQ1", "NTE", "PID", "PV1"), "orm": ("PID", "PV1")}
_OF_A_STUDY: Final = {"siu": ("AIS",), "orm": ("ORC", "TQ1", "OBR", "NTE")}
_AFTER: Final = {"siu": ("AIG", "AIL"), "orm": ()}


class Draft:
    """The segments of one SIU or ORM. A study has segments of its own, by its number from 0 on."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._shared: dict[str, Fields] = {}
        self._of_studies: list[dict[str, Fields]] = []
        self._sites: list[dict[str, Fields]] = []

    def fields(self, segment: str, study: int = 0) -> Fields:
        """The fields of a segment, made when it is first asked for."""
        if segment in _OF_A_STUDY[self._family]:
            groups = self._of_studies
        elif segment.startswith("Z"):
            groups = self._sites
        else:
            return self._shared.setdefault(segment, {})
        while len(groups) <= study:
            groups.append({})
        return groups[study].setdefault(segment, {})

    def put(self, places: Sequence[Place], value: Value, study: int = 0) -> None:
        """Puts ``value`` at each of ``places``. A list is a whole field; at one component its first text is put."""
        if value is None:
            return
        for place in places:
            is_shared = place.segment not in _OF_A_STUDY[self._family] and not place.segment.startswith("Z")
            if is_shared and study:
                continue  # a segment of the whole message holds the first study's value
            put(self.fields(place.segment, study), place, value)

    def number_sites(self, places: Sequence[Place], studies: int) -> None:
        """Gives each study its segment of the site's own where one study has it: they belong together by number."""
        for segment in {place.segment for place in places if place.segment.startswith("Z")}:
            if any(segment in group for group in self._sites):
                for study in range(studies):
                    self.fields(segment, study)

    def add_to(self, message: Message) -> None:
        """Adds the segments in the order of HL7's structure; a site's own follow their study."""
        self._add(message, self._shared, _BEFORE[self._family])
        if self._family == "siu":
            message.add("RGS", {1: "1", 2: "A"})
        for number, group in enumerate(self._of_studies):
            self._add(message, group, _OF_A_STUDY[self._family])
            if self._family == "orm":
                self._add_sites(message, number)
        self._add(message, self._shared, _AFTER[self._family])
        if self._family == "siu":
            for number in range(len(self._sites)):
                self._add_sites(message, number)

    def _add_sites(self, message: Message, number: int) -> None:
        group = self._sites[number] if number < len(self._sites) else {}
        self._add(message, group, sorted(group))

    @staticmethod
    def _add(message: Message, group: Mapping[str, Fields], order: Sequence[str]) -> None:
        for segment in order:
            if segment in group:
                message.add(segment, group[segment])


def put(fields: Fields, place: Place, value: Value) -> None:
    """Puts ``value`` at one place, beside the other components of the field."""
    if isinstance(value, str) or value is None:
        if place.component is None and not isinstance(fields.get(place.field), list):
            fields[place.field] = value
        else:
            _put_text(fields, place.field, place.part, value)
    elif place.component is not None:
        _put_text(fields, place.field, place.component, next(filter(None, value), None))
    else:
        for number, text in enumerate(value, 1):
            if text is not None:
                _put_text(fields, place.field, number, text)


def _put_text(fields: Fields, field: int, component: int, text: Text) -> None:
    known = fields.get(field)
    parts = [*known] if isinstance(known, list) else [] if known is None else [str(known)]
    parts += [None] * (component - len(parts))
    parts[component - 1] = text
    fields[field] = parts
