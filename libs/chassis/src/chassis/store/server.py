"""Checks the settings of a store's server: committed data must survive, and the server's log must name no patient.

Session settings stand in ``chassis.store.SESSION_SETTINGS``. The other settings belong to the server and are checked at
start and every 30 s. Production does not start on a server that may lose committed data. A log that would hold patient
data raises a warning and the alarm of the gauge ``store_logs_patients``, but stops nothing: where another team owns the
database, appointments must go on meanwhile (docs/adr/0018).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.settings import SettingsError
from chassis.store.store import Store, asking

LOOK_SECONDS: Final = 30.0
"""Shorter than the time a loop may stand still, because a pause is no progress."""
_QUIET_LEVELS: Final = frozenset({"log", "fatal", "panic"})
"""Values of log_min_messages that leave errors out; Postgres ranks ``log`` above ``error``."""
_WHOLE_RECORDS: Final = frozenset({"csvlog", "jsonlog"})
"""Log formats that hold an error's DETAIL whatever log_error_verbosity says."""
_ASKED: Final = (
    "fsync", "full_page_writes", "synchronous_commit", "server_encoding",
    "log_statement", "log_min_duration_statement", "log_min_duration_sample", "log_transaction_sample_rate",
    "log_parameter_max_length", "log_parameter_max_length_on_error", "log_min_messages", "log_error_verbosity",
    "log_destination", "debug_print_parse", "debug_print_rewritten", "debug_print_plan",
    "auto_explain.log_min_duration", "pgaudit.log", "pgaudit.log_parameter",
)  # fmt: skip
_ASK: Final = "SELECT name, current_setting(name, true) FROM unnest($1::text[]) AS asked (name)"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings, each a line that begins with the setting and its value.

    ``unfit``: a committed transaction may be lost or damaged. ``doubtful``: safe only where the file system writes
    whole pages. ``logged``: the server's log would hold values of statements.
    """

    unfit: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()


def judge(found: Mapping[str, str | None]) -> Findings:
    """The findings for ``found``, the server's settings as our sessions see them; None marks an unknown setting."""
    return Findings(
        tuple(_named(found, name, why) for name, why in _unfit(found).items()),
        tuple(_named(found, name, why) for name, why in _doubtful(found).items()),
        tuple(_named(found, name, why) for name, why in _logged(found).items()),
    )


def _named(found: Mapping[str, str | None], name: str, why: str) -> str:
    return f"{name}={found.get(name)}: {why}"


def _unfit(found: Mapping[str, str | None]) -> dict[str, str]:
    wrong = {}
    if found.get("fsync") != "on":
        wrong["fsync"] = "a power cut loses or destroys what was committed; set it to on"
    if found.get("synchronous_commit") not in {"on", "remote_apply"}:
        # Each session sets it at its start. Another value means that a pooler between us and the server drops it.
        wrong["synchronous_commit"] = "a commit is answered before it is on disk; let a pooler pass our setting on"
    if found.get("server_encoding") != "UTF8":
        wrong["server_encoding"] = "names cannot all be kept; make the database with UTF8"
    return wrong


def _doubtful(found: Mapping[str, str | None]) -> dict[str, str]:
    if found.get("full_page_writes") != "on":
        return {"full_page_writes": "a page half written at a crash is lost, unless the file system writes pages whole"}
    return {}


def _logged(found: Mapping[str, str | None]) -> dict[str, str]:
    leaks = {}
    if _logs_statements(found) and found.get("log_parameter_max_length") != "0":
        leaks["log_parameter_max_length"] = "logged statements come with their parameters; set it to 0"
    if found.get("log_parameter_max_length_on_error") != "0":
        leaks["log_parameter_max_length_on_error"] = "errors come with the statement's parameters; set it to 0"
    if found.get("log_min_messages") not in _QUIET_LEVELS:
        formats = {word.strip() for word in (found.get("log_destination") or "").split(",")}
        if found.get("log_error_verbosity") != "terse":
            leaks["log_error_verbosity"] = "errors quote rows in DETAIL; set it to terse, or log_min_messages to log"
        elif formats & _WHOLE_RECORDS:
            leaks["log_min_messages"] = "csvlog and jsonlog hold what errors quote, terse or not; set it to log"
    for name in ("debug_print_parse", "debug_print_rewritten", "debug_print_plan"):
        if found.get(name) == "on":
            leaks[name] = "trees of statements hold values; set it to off"
    if found.get("auto_explain.log_min_duration") not in {None, "", "-1"}:
        leaks["auto_explain.log_min_duration"] = "plans quote values; set it to -1"
    if found.get("pgaudit.log") not in {None, "", "none"} and found.get("pgaudit.log_parameter") == "on":
        leaks["pgaudit.log_parameter"] = "audited statements come with their parameters; set it to off"
    return leaks


def _logs_statements(found: Mapping[str, str | None]) -> bool:
    return (
        found.get("log_statement") not in {"none", "ddl"}
        or found.get("log_min_duration_statement") != "-1"
        or found.get("log_min_duration_sample") != "-1"
        or found.get("log_transaction_sample_rate") != "0"
    )


async def look(store: Store) -> Findings:
    """Reads the server's settings once. Raises ``StoreUnavailable``."""
    with asking():
        return judge(dict(await store.pool.fetch(_ASK, list(_ASKED))))


def _say(findings: Findings) -> None:
    for line in findings.unfit:
        log.error("store.unfit", setting=line)
    for line in findings.doubtful:
        log.warning("store.doubtful", setting=line)
    for line in findings.logged:
        log.warning("store.logs-parameters", setting=line)


async def accept(store: Store, environment: str) -> None:
    """Logs the findings at start.

    In production, a server that may lose committed data raises ``SettingsError``, and the store is closed.
    """
    findings = await look(store)
    _say(findings)
    if findings.unfit and environment == "production":
        await store.close()
        raise SettingsError([f"the store's server: {line}" for line in findings.unfit])


class StoreServerWatch(LoopBase):
    """Keeps the gauges ``store_unfit`` and ``store_logs_patients`` (counts of wrong settings). Logs each change."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        super().__init__()
        self._store = store
        self._metrics = metrics
        self._known: Findings | None = None

    async def run(self) -> None:
        while not self.stopping:
            try:
                await self.turn()
            except StoreUnavailable as error:
                log.warning("store-server.store-away", reason=error.reason)
            await self.pause(LOOK_SECONDS)

    async def turn(self) -> Findings:
        """Checks once."""
        findings = await look(self._store)
        self._metrics.set(meters.STORE_UNFIT, len(findings.unfit))
        self._metrics.set(meters.STORE_LOGS_PATIENTS, len(findings.logged))
        if self._known is not None and findings != self._known:
            _say(findings)
        self._known = findings
        self.beat()
        return findings
