"""The service and both simulators as processes, spoken to only over their real wires."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp

from chassis.messaging import topics
from chassis.testing import eventually
from local_stack.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
PIN = "246810"


class Flow:
    """Addresses of what runs, and the acts of the people around it."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        kafka: str,
        prefix: str,
        *,
        profile: str,
        dialect: str,
        send: str,
    ) -> None:
        self._folder = folder
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.http, self.mllp = free_port(), free_port()
        self.powerserver, self.powerserver_mllp, self.omegaai = free_port(), free_port(), free_port()
        self.session: aiohttp.ClientSession
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self.site_file = folder / "site.yaml"
        site = (ROOT / "deploy/site/northside.yaml").read_text()
        self.site_file.write_text(site.replace("send: siu", f"send: {send}"))
        mapping = ROOT / "deploy/site/northside.hl7.yaml"
        (folder / mapping.name).write_text(mapping.read_text())
        self._environment = {
            **os.environ,
            "SCHEDULER_SYNC_STORE__URL": database_url,
            "SCHEDULER_SYNC_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "SCHEDULER_SYNC_KAFKA__TOPIC_PREFIX": prefix,
            "SCHEDULER_SYNC_HTTP__PORT": str(self.http),
            "SCHEDULER_SYNC_SITE_FILE": str(self.site_file),
            "SCHEDULER_SYNC_MLLP__PORT": str(self.mllp),
            "SCHEDULER_SYNC_POWERSERVER__PORT": str(self.powerserver_mllp),
            "SCHEDULER_SYNC_OMEGAAI__BASE_URL": f"http://127.0.0.1:{self.omegaai}",
            "SCHEDULER_SYNC_OMEGAAI__TIMEOUT_SECONDS": "2",
            "SCHEDULER_SYNC_OMEGAAI__POLL_SECONDS": "1",
            "POWERSERVER_SIM_DATA_DIR": str(folder / "powerserver"),
            "POWERSERVER_SIM_HTTP_PORT": str(self.powerserver),
            "POWERSERVER_SIM_MLLP_PORT": str(self.powerserver_mllp),
            "POWERSERVER_SIM_WORKLIST_PORT": os.environ.get("POWERSERVER_SIM_WORKLIST_PORT", "0"),
            "POWERSERVER_SIM_PEER_PORT": str(self.mllp),
            "POWERSERVER_SIM_PROFILE": profile,
            "POWERSERVER_SIM_RETRY_INITIAL_SECONDS": "0.2",
            "OMEGAAI_SIM_DATA_DIR": str(folder / "omegaai"),
            "OMEGAAI_SIM_HTTP_PORT": str(self.omegaai),
            "OMEGAAI_SIM_DIALECT": dialect,
        }

    async def start(self, name: str) -> None:
        module = [name.replace("-", "_")] + (["run"] if name in {"scheduler-sync", "notifier"} else [])
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *module, env=self._environment, stdout=log, stderr=log, cwd=self._folder
            )

    async def command(self, *arguments: str, service: str = "scheduler_sync") -> tuple[int, str]:
        """A command of the service: its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", service, *arguments, env=self._environment, cwd=self._folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        process = self._processes.pop(name)
        process.send_signal(how)
        return await asyncio.wait_for(process.wait(), 60)

    async def has_died(self, name: str) -> bool:
        """Whether the process ended by itself; then it may be started again."""
        if self._processes[name].returncode is None:
            return False
        del self._processes[name]
        return True

    def set(self, **environment: str) -> None:
        """For what is started from now on."""
        self._environment |= environment

    async def stop_all(self) -> None:
        for session in self._sessions.values():
            await session.close()
        for name in list(self._processes):
            process = self._processes[name]
            if process.returncode is None:
                await self.stop(name)

    def log(self, name: str = "scheduler-sync") -> str:
        return (self._folder / f"{name}.log").read_text()

    def last_words(self, lines: int = 40) -> str:
        """The end of each process' log but its successes."""
        told = []
        for path in sorted(self._folder.glob("*.log")):
            kept = [line for line in path.read_text().splitlines() if '"level": "info"' not in line][-lines:]
            told.append("\n".join([f"--- {path.name}", *kept]))
        return "\n".join(told)

    async def _get(self, port: int, path: str) -> Any:
        async with self.session.get(f"http://127.0.0.1:{port}{path}") as response:
            return await response.json()

    async def answers(self, port: int, path: str) -> bool:
        try:
            async with self.session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def has_resources(self) -> bool:
        return "resource-import.done" in self.log()

    async def page(self, path: str) -> str:
        async with self.session.get(f"http://127.0.0.1:{self.http}{path}") as response:
            assert response.status == 200, response.status
            return await response.text()

    async def powerserver_api(self, path: str, body: dict | None = None, *, missing_ok: bool = False) -> Any:
        headers = {"Authorization": aiohttp.encode_basic_auth("admin", "development")}
        url = f"http://127.0.0.1:{self.powerserver}/api/{path}"
        method = "GET" if body is None else "POST"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            if missing_ok and response.status == 404:
                return None
            assert response.status in (200, 201), (response.status, await response.text())
            return await response.json()

    async def powerserver_settings(self, page: str, **form: str) -> None:
        """An administrator changes a setting on its page."""
        base = f"http://127.0.0.1:{self.powerserver}"
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            login = {"name": "admin", "password": "development"}
            async with browser.post(f"{base}/login", data=login, allow_redirects=False) as response:
                assert response.status == 303, response.status
            async with browser.post(f"{base}/settings/{page}", data=form, allow_redirects=False) as response:
                assert response.status == 303, await response.text()

    async def press_book(self, email: str, **form: str) -> dict:
        """The patient books a new appointment; the answer."""
        blume = await self._blume(email)
        assert blume is not None
        base = f"http://127.0.0.1:{self.omegaai}/blume"
        async with blume.get(f"{base}/api/offers") as response:
            patient = (await response.json())["patients"][0]["id"]
        async with blume.get(f"{base}/api/session") as response:
            values = {"csrf": (await response.json())["csrf"], "patient": patient, **form}
        async with blume.post(f"{base}/book", data=values, headers={"Accept": "application/json"}) as response:
            assert response.status == 201, await response.text()
            return await response.json()

    async def delete_in_omegaai(self, placer: str) -> None:
        """OmegaAI's staff delete the Appointment."""
        base = f"http://127.0.0.1:{self.omegaai}"
        client = {"client_id": "suite", "client_secret": "development-secret"}
        form = {"grant_type": "client_credentials", "scope": "fhir", **client}
        async with self.session.post(f"{base}/auth/oauth2/v2.0/token", data=form) as response:
            headers = {"Authorization": f"Bearer {(await response.json())['access_token']}"}
        query = {"identifier": f"urn:powerserver:placer|{placer}"}
        async with self.session.get(f"{base}/fhir/Appointment", params=query, headers=headers) as response:
            (entry,) = (await response.json())["entry"]
        body = {**entry["resource"], "status": "entered-in-error"}
        headers |= {"If-Match": f'W/"{body["meta"]["versionId"]}"', "Content-Type": "application/fhir+json"}
        async with self.session.put(f"{base}/fhir/Appointment/{body['id']}", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()

    async def book(self, patient: dict, *, start: str, resource: str = "BLUME CT") -> str:
        """Staff book in PowerServer; the placer number."""
        body = {"patient": patient, "resource": resource, "start": start, "study_types": ["CT-HEAD"]}
        return (await self.powerserver_api("appointments", body))["placer_number"]

    async def status_in_powerserver(self, placer: str) -> str:
        return (await self.powerserver_api(f"appointments/{placer}"))["status"]

    async def cards(self, email: str) -> dict[str, dict]:
        """What the patient sees in Blume, by placer number; none as long as there is no account."""
        blume = await self._blume(email)
        if blume is None:
            return {}
        async with blume.get(f"http://127.0.0.1:{self.omegaai}/blume/api/appointments") as response:
            found = (await response.json())["appointments"]
        return {card["placer_number"]: card for card in found}

    async def press(self, email: str, card: dict, button: str, **form: str) -> None:
        """The patient presses Confirm or Cancel on a card."""
        blume = await self._blume(email)
        assert blume is not None
        base = f"http://127.0.0.1:{self.omegaai}/blume"
        async with blume.get(f"{base}/api/session") as response:
            values = {"csrf": (await response.json())["csrf"], "start": card["start"], **form}
        url = f"{base}/appointments/{card['id']}/{button}"
        async with blume.post(url, data=values, headers={"Accept": "application/json"}) as response:
            assert response.status == 200, await response.text()

    async def _blume(self, email: str) -> aiohttp.ClientSession | None:
        """The patient's session, logged in once."""
        if email not in self._sessions:
            session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
            url = f"http://127.0.0.1:{self.omegaai}/blume/login"
            async with session.post(url, data={"email": email, "pin": PIN}, allow_redirects=False) as response:
                is_in = response.status == 303
            if not is_in:
                await session.close()
                return None
            self._sessions[email] = session
        return self._sessions[email]

    async def ledger(self, port: int, kind: str) -> list[dict]:
        rows = (await self._get(port, "/ledger?limit=10000"))["rows"]
        return [row for row in rows if row["kind"] == kind]

    async def misbehave(self, port: int, **fault: object) -> None:
        async with self.session.post(f"http://127.0.0.1:{port}/control/misbehave", json=fault) as response:
            assert response.status == 201, await response.text()


START_SECONDS = 90
"""Three processes start at once, perhaps on a machine that is busy with other things."""


@asynccontextmanager
async def flow(
    folder: Path,
    database_url: str,
    kafka: str,
    prefix: str,
    *,
    profile: str = "both",
    dialect: str = "strict",
    send: str = "siu",
) -> AsyncIterator[Flow]:
    """Everything up and ready on a database with all tables; stopped at the end."""
    await topics.ensure({"bootstrap_servers": kafka}, prefix=prefix)
    running = Flow(folder, database_url, kafka, prefix, profile=profile, dialect=dialect, send=send)
    async with aiohttp.ClientSession() as running.session:
        try:
            for name in ("omegaai-sim", "powerserver-sim", "scheduler-sync"):
                await running.start(name)
            await eventually(lambda: running.answers(running.http, "/readyz"), timeout_seconds=START_SECONDS)
            await eventually(lambda: running.answers(running.powerserver, "/healthz"), timeout_seconds=START_SECONDS)
            # Faults that a test orders must not hit the first import: bookings would wait for it, refused meanwhile.
            await eventually(running.has_resources, timeout_seconds=START_SECONDS)
            yield running
        except BaseException:
            print(running.last_words())  # what a failed run leaves on record
            raise
        finally:
            await running.stop_all()


def next_week_at(hour: int, minute: int = 0) -> str:
    """A start that is well ahead, with Toronto's offset."""
    day = datetime.now(ZoneInfo("America/Toronto")) + timedelta(days=7)
    return day.replace(hour=hour, minute=minute, second=0, microsecond=0).isoformat()
