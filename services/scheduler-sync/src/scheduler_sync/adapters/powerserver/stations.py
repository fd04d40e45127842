"""The stations of the site's mapping: which message types each sender may send."""

from chassis.errors import Malformed, NeedsSetup
from chassis.observe import shown
from hl7v2 import Message
from scheduler_sync.mapping import Hl7Mapping

UNSUPPORTED_MESSAGE_TYPE = "200"


class NotPermittedError(Malformed):
    """The station may not send a message of this type (AR)."""


class NotPermittedYetError(NeedsSetup):
    """The same, kept until the list has the type (AE)."""


def refused(message: Message, mapping: Hl7Mapping) -> tuple[str, Exception] | None:
    """The station's name in the mapping and the refusal; None for a message that its station may send."""
    if not mapping.has_lists:
        return None
    application, facility = message.get("MSH-3.1") or "", message.get("MSH-4.1") or ""
    stations = mapping.stations
    name = next((one for one in (f"{application}@{facility}", application, "*") if one in stations), None)
    if name is None:
        return None
    station = stations[name]
    kind = f"{message.type}^{message.trigger or ('O01' if message.type == 'ORM' else '')}"
    if station.may_send is None or kind in station.may_send:
        return None
    key = f"stations.{name}.may_send"
    said = f"MSH-9: {shown(kind)} is not among the messages that this station may send"
    if station.refusal == "AE":
        return name, NotPermittedYetError(said, setting=f"{key} in the mapping file")
    return name, NotPermittedError(f"{said} ({key})", location="MSH-9", code=UNSUPPORTED_MESSAGE_TYPE)
