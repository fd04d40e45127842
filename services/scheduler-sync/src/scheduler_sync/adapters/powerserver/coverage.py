"""The parts of a message that the reader does not use, by segment and field."""

from collections.abc import Iterable, Mapping
from typing import Final

from hl7v2 import Segment
from scheduler_sync.adapters.powerserver.table import read_fields
from scheduler_sync.mapping import Hl7Mapping

_MOST_SHAPES: Final = 5_000
_HIGHEST_FIELD: Final = 60
_NAMES: Final = (
    "MSH EVN PID PD1 NK1 PV1 PV2 SCH TQ1 TQ2 NTE RGS AIS AIG AIL AIP ORC OBR OBX DG1 AL1 IN1 IN2 IN3 GT1 ACC ROL "
    "CTI BLG FT1 PR1 RXO RXR RXC RQD RQ1 ODS ODT SFT UAC ARV ARQ APR CTD MRG DRG UB1 UB2 PDA SPM SAC IAM PRT OVR "
    "DSC ADD ERR MSA QRD QRF"
)
_STANDARD: Final = frozenset(_NAMES.split(" "))
Key = tuple[str, str]
_Shapes = dict[bytes, tuple[Key, ...]]


class Coverage:
    """Caches, for each shape of a segment (the filled fields), the fields that are not read."""

    def __init__(self) -> None:
        self._shapes: dict[str, _Shapes] = {}
        self._read: dict[str, Mapping[bytes, frozenset[int]]] = {}
        self._mapping: Hl7Mapping | None = None

    def unread(self, message_type: str, segments: Iterable[Segment], mapping: Hl7Mapping) -> list[Key]:
        """One key for each filled field that is not read; the number of labels is bounded for any input."""
        if mapping is not self._mapping:
            self._mapping = mapping
            self._shapes, self._read = {}, {name: read_fields(name, mapping) for name in ("SIU", "ORM", "ADT")}
        shapes = self._shapes.get(message_type)
        if shapes is None:
            shapes = self._shapes[message_type] = {}
        found: list[Key] = []
        for segment in segments:
            shape = segment.shape()
            keys = shapes.get(shape)
            if keys is None:
                keys = self._keep(shapes, shape, segment, self._read[message_type])
            if keys:
                found += keys
        return found

    def _keep(
        self, shapes: _Shapes, shape: bytes, segment: Segment, read: Mapping[bytes, frozenset[int]]
    ) -> tuple[Key, ...]:
        known = read.get(segment.id_bytes, frozenset())
        keys = tuple(key_of(segment.id, number) for number in segment.filled() if number not in known)
        if len(shapes) >= _MOST_SHAPES:
            shapes.clear()
        shapes[shape] = keys
        return keys


def key_of(segment: str, number: int) -> Key:
    """The labels: a segment of the standard, ``Z`` or ``other``; a field's number or ``other``."""
    name = segment if segment in _STANDARD else "Z" if segment.startswith("Z") else "other"
    return name, str(number) if 0 < number <= _HIGHEST_FIELD and name in _STANDARD else "other"
