"""MessageFoundry, an integration engine in Python (PyPI, AGPL), run as a program in a separate environment.

No code of it is imported here, and no lock of the suite names it: it is installed when this runs. Its inbound
connection stores each message in its SQLite store and answers. A router without a handler is its least possible work.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.ports import free_port

REQUIREMENT = "messagefoundry==0.2.1"
HOME = Path(os.environ.get("SUITE_LOCAL_DIR", Path(__file__).parents[1] / ".local")) / "messagefoundry"
INSTALL_SECONDS = 600
_GRAPH = """
from messagefoundry import MLLP, inbound, router

inbound("IB_BENCH_SIU", MLLP(port={port}), router="keep")


@router("keep")
def keep(msg):
    return []
"""


class NotRunError(Exception):
    """MessageFoundry cannot run here; the text gives the reason."""


def install() -> Path:
    """MessageFoundry's program; installed on the first call. Raises ``NotRunError``."""
    binary = HOME / "bin" / "messagefoundry"
    if not binary.exists():
        venv.create(HOME, with_pip=True)
        command = [str(HOME / "bin" / "python"), "-m", "pip", "install", "-q", REQUIREMENT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise NotRunError(f"{REQUIREMENT} was not installed within {INSTALL_SECONDS} s") from None
        if done.returncode != 0:
            raise NotRunError(f"{REQUIREMENT}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")
    return binary


@contextmanager
def listening(folder: Path) -> Iterator[int]:
    """Runs the engine, listening on the given port. Raises ``NotRunError``."""
    binary = install()
    port = free_port()
    config = folder / "config"
    config.mkdir()
    (config / "graph.py").write_text(_GRAPH.format(port=port))
    command = [str(binary), "serve", "--config", str(config), "--db", str(folder / "store.db"), "--env", "dev",
               "--host", "127.0.0.1", "--port", str(free_port()), "--project-root", str(folder)]  # fmt: skip
    with (folder / "messagefoundry.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    print(install(), file=sys.stdout)
