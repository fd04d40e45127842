"""``start_service.py NAME FOLDER``: runs a service as the local stack does, on given servers, and prints its answers.

The last line is one JSON object: status and text by path.
"""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

from chassis.testing import eventually
from local_stack.ports import free_port
from local_stack.processes import module_command, processes, spawner
from local_stack.provision import provision
from local_stack.settings import GivenServers, Ports, Settings
from roster import roster


def ask(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 (an address of ours)
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def main(name: str, folder: Path) -> None:
    given = GivenServers.from_environment()
    assert given is not None
    settings = Settings(folder, Ports.each(free_port), given)
    (found,) = [one for one in processes(settings) if one.name == name]
    # No identity provider runs here. Without one, a development service lets everybody in.
    open_to_all = {key: value for key, value in found.environment.items() if "_HTTP__OIDC__" not in key}
    started = spawner(module_command(*found.arguments), open_to_all)
    process = replace(found, environment=open_to_all, spawn=started)
    database = roster().by_name[name].database
    await provision(given.postgres_admin_url, {database: settings.passwords()[database]})
    for job in process.jobs:
        await asyncio.to_thread(
            subprocess.run, module_command(*job), env={**os.environ, **process.environment}, check=True
        )
    child = process.spawn(folder / "log")
    try:
        await eventually(process.healthy, what=f"{name}'s readiness")
        http = process.address.removesuffix("/console")
        paths = ("/readyz", "/console", "/appointments")
        print(json.dumps({path: await asyncio.to_thread(ask, http + path) for path in paths}))
    finally:
        child.terminate()
        await asyncio.to_thread(child.wait, 60)


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
