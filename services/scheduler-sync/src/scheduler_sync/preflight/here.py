"""What this service can see by itself: its store, Kafka, the lines to PowerServer, certificates, messages, the site."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from chassis.host import Certificate, expiry_of, expiry_of_der
from chassis.messaging import topics
from chassis.settings import KafkaSettings
from chassis.store import Store
from scheduler_sync.domain.resource import PairState
from scheduler_sync.preflight.lines import Line, State, apart
from scheduler_sync.preflight.omegaai import CLOCK_SECONDS
from scheduler_sync.preflight.views import Heard, PreflightViews
from scheduler_sync.settings import PowerServerSettings
from scheduler_sync.site import Site, SiteFile

SOON: Final = timedelta(days=30)
LONG_AGO: Final = timedelta(days=2)
_CLOCK_OF_MESSAGES: Final = 60.0
"""A message may have waited in PowerServer's queue; only a difference of more than a minute tells of a clock."""
_PS: Final = "PowerServer: Settings"
_DOCUMENTS: Final = (
    "RamSoft's Mirth: channel Outbound FHIRJSON to HL7 XML > transformer > allowedOutputDocumentTypes, then redeploy"
)


@dataclass(frozen=True, slots=True)
class MllpOut:
    """PowerServer's listener, and our TLS for it."""

    settings: PowerServerSettings
    tls: ssl.SSLContext | None


async def store(store: Store, now: datetime) -> list[Line]:
    await store.ping()
    return [Line("postgres", "Connections", "the store (Postgres)", State.FOUND, "it answers", now)]


async def kafka(settings: KafkaSettings, names: Sequence[str], now: datetime) -> list[Line]:
    where = "python -m scheduler_sync topics"

    def line(state: State, seen: str) -> list[Line]:
        return [Line("kafka", "Connections", "Kafka and its topics", state, seen, now, where)]

    try:
        found = await topics.verify(settings.client_keywords(), names, prefix=settings.topic_prefix)
    except topics.TopicsError as error:
        return line(State.MISSING, str(error))
    return line(State.FOUND, f"{len(found)} topics are there, with the contracts' partitions")


async def mllp_out(out: MllpOut, views: PreflightViews, now: datetime) -> list[Line]:
    """Connects, and closes without a message: PowerServer would keep a probe as a message of a patient."""
    host, port = out.settings.host, out.settings.port
    what, where = f"PowerServer's HL7 listener ({host}:{port})", f"{_PS} > Interface: HL7 in; powerserver.host, port"
    answered = await views.newest_answer("powerserver")
    last = "no message has been answered yet" if answered is None else f"the last answer came {_time(answered)}"
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=out.tls)
    except OSError as error:
        why = error.reason if isinstance(error, ssl.SSLError) else error.strerror or type(error).__name__
        return [Line("mllp.out", "Connections", what, State.MISSING, f"{why}; {last}", now, where)]
    lines = []
    peer = writer.get_extra_info("ssl_object")
    content = None if peer is None else peer.getpeercert(binary_form=True)
    if content:
        expires_at = expiry_of_der(content)
        lines.append(
            _certificate("certificate.powerserver", "PowerServer's certificate", expires_at, now, "PowerServer")
        )
    writer.close()
    seen = f"it takes a connection{' with TLS' if out.tls else ''}; nothing was sent; {last}"
    return [Line("mllp.out", "Connections", what, State.FOUND, seen, now, where), *lines]


async def messages(views: PreflightViews, site: SiteFile, now: datetime) -> list[Line]:
    """What PowerServer's messages show: that they come, its clock, its facilities, the priority."""
    heard = await views.heard()
    where = f"{_PS} > Interface: HL7 out, to this service's MLLP port"
    lines = []
    if not heard:
        seen = "no message was ever received"
        lines.append(Line("mllp.in", "Connections", "messages from PowerServer", State.MISSING, seen, now, where))
        seen = "no message has said it yet"
        lines.append(Line("clock.powerserver", "Clocks", "PowerServer's clock", State.NOT_VISIBLE, seen, now))
    else:
        newest = heard[0]
        seen = f"the last one came {_time(newest.received_at)} from {newest.sender}"
        state = State.FOUND
        if now - newest.received_at > LONG_AGO:
            seen += "; that is long ago"
        lines.append(
            Line("mllp.in", "Connections", "messages from PowerServer", state, seen, newest.received_at, where)
        )
        lines.append(_clock(heard, now))
    known = await views.facilities()
    for code in site.facilities:
        at = known.get(code)
        state = State.NOT_VISIBLE if at is None else State.FOUND
        seen = "no message or export has named it yet" if at is None else f"PowerServer named it {_time(at)}"
        where = f"{_PS} > Users & Facilities > Imaging Facilities"
        line = Line(f"facility.{code}", "Facilities", f"facility {code} in PowerServer", state, seen, at, where, True)
        lines.append(line)
    lines.append(_priority(heard, site, await views.priority_answered()))
    lines += _by_hand()
    return lines


def _clock(heard: Sequence[Heard], now: datetime) -> Line:
    """The smallest difference of the last messages: one that waited in a queue says nothing of the clock."""
    differences = [one.ahead_seconds for one in heard if one.ahead_seconds is not None]
    where = "The machines' time service (NTP), on both sides"
    if not differences:
        return Line("clock.powerserver", "Clocks", "PowerServer's clock", State.NOT_VISIBLE, "no MSH-7 says it", now)
    least = min(differences, key=abs)
    state = State.FOUND if -_CLOCK_OF_MESSAGES <= least <= CLOCK_SECONDS else State.MISSING
    seen = f"of the last {len(differences)} messages the nearest MSH-7 was {apart(least)} its reception"
    return Line("clock.powerserver", "Clocks", "PowerServer's clock", state, seen, heard[0].received_at, where)


def _priority(heard: Sequence[Heard], site: SiteFile, answered: tuple[datetime, bool] | None) -> Line:
    """PowerServer has no interface that lists priorities: a message, or its answer to a request, may show it."""
    name = site.mapping.request_priority
    seen_at = next((one.received_at for one in heard if name.encode() in one.raw), None)
    state, at = State.NOT_VISIBLE, seen_at
    if seen_at is not None:
        state, seen = State.FOUND, f"seen in a message of {seen_at:%Y-%m-%d %H:%M} UTC"
    elif answered is not None and answered[1]:
        state, at = State.FOUND, answered[0]
        seen = f"PowerServer took a patient's request with it {_time(answered[0])}"
    else:
        seen = "not visible by protocol, and no message has shown it"
        if answered is not None:
            seen += f"; PowerServer refused a request {_time(answered[0])}: see the deliveries"
    where = f"{_PS} > Server Settings > Priority, as an administrator of PowerReader"
    return Line("priority", "Priority", f"the priority {name}", state, seen, at, where, can_confirm=True)


def _by_hand() -> list[Line]:
    """What no protocol shows to this service."""
    words = "not visible by protocol"
    return [
        Line("powerserver.study-types", "Catalogues", "study types and procedure codes in PowerServer",
             State.NOT_VISIBLE, words, None, f"{_PS} > Study Types", can_confirm=True),
        Line("document-types", "Documents", "document types that PowerServer takes (56444-3 and 55188-7 by default)",
             State.NOT_VISIBLE, f"{words} to this service: documents go another way", None, _DOCUMENTS,
             can_confirm=True),
    ]  # fmt: skip


async def resources(views: PreflightViews, site: SiteFile) -> list[Line]:
    """How the resources of each facility stand on both sides."""
    counts, grid = await views.pairs(), await views.grid()
    lines = []
    for code in site.facilities:
        of_it = counts.get(code, {})
        wrong = [f"{of_it[one]} {words}" for one, words in _WRONG.items() if of_it.get(one)]
        where = "/resources here; PowerServer: Settings > Users & Facilities > Imaging Facilities > Resource"
        linked = of_it.get(PairState.LINKED, 0)
        if code not in grid:
            state, seen = State.NOT_VISIBLE, "PowerServer's grid was never read: export it as CSV, or let it send MFN"
        elif wrong or not linked:
            state, seen = State.MISSING, f"{linked} linked; {', '.join(wrong) or 'none else'}"
        else:
            state, seen = State.FOUND, f"{linked} linked, none differs"
        at = grid.get(code)
        lines.append(
            Line(f"resources.{code}", "Resources", f"resources of {code} on both sides", state, seen, at, where)
        )
    return lines


_WRONG: Final = {PairState.DRIFTED: "differ", PairState.ONLY_PS: "only in PowerServer"}


def certificates(all_of_them: Sequence[Certificate], now: datetime) -> list[Line]:
    lines = []
    for one in all_of_them:
        what, line_id = f"our certificate {one.use}", f"certificate.{one.use}"
        try:
            expires_at = expiry_of(Path(one.file).read_bytes())
        except (OSError, ValueError) as error:
            why = f"the file cannot be read ({type(error).__name__})"
            lines.append(Line(line_id, "Certificates", what, State.MISSING, why, now, one.setting))
        else:
            lines.append(_certificate(line_id, what, expires_at, now, one.setting))
    if not lines:
        seen = "none is set: the lines are without TLS of our own"
        lines.append(Line("certificate", "Certificates", "our certificates", State.FOUND, seen, now))
    return lines


def _certificate(line_id: str, what: str, expires_at: datetime, now: datetime, where: str) -> Line:
    left = expires_at - now
    state = State.FOUND if left > SOON else State.MISSING
    seen = f"{left.days} days left" if left > timedelta() else "it has expired"
    return Line(line_id, "Certificates", what, state, seen, now, where)


def site_file(site: Site, now: datetime) -> list[Line]:
    problem = site.problem
    state, seen = (State.FOUND, "it holds, with its mapping") if problem is None else (State.MISSING, problem)
    lines = [Line("site-file", "Site", "the site file and its mapping", state, seen, now, "SCHEDULER_SYNC_SITE_FILE")]
    return lines + [
        Line(
            f"auto-confirm.{facility}",
            "Site",
            f"bookings at {facility} that the rules confirm",
            State.MISSING,
            "form-complete never holds: the suite does not know which forms are complete, and staff confirm each one",
            now,
            f"site file: self_scheduling.{facility}.auto_confirm",
        )
        for facility in site.file.never_confirmed
    ]


def _time(at: datetime) -> str:
    return f"at {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
