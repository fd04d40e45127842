#!/usr/bin/env python3
"""Sets the workspace up: a virtual environment from requirements.lock, the members, and Kafka's jars.

Runs on the machine's own Python with the standard library alone; `make` calls it first. It ends at once when nothing
has changed since the last call. A failure is one line with the remedy. An unfinished step never counts as done: the
next call continues from there.
"""

import argparse
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

EXIT_SETUP = 3
if sys.version_info < (3, 11):  # noqa: UP036 (this is the check that keeps older ones out)
    # Comes before any syntax that an older Python cannot read; Python from 3.6 on reaches this line.
    print(
        f"setup: Python {sys.version_info[0]}.{sys.version_info[1]} is too old: "
        "call make with PYTHON=<the path of a Python ≥ 3.11>",
        file=sys.stderr,
    )
    sys.exit(EXIT_SETUP)

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "suite-setup.sha256"
MADE = VENV / "suite-made.txt"
"""The place and the tools of .venv, written once its installer is in it.

Other content means that .venv is made anew.
"""
LOCAL = Path(os.environ.get("SUITE_LOCAL_DIR", ROOT / ".local"))
JARS = Path(os.environ.get("KAFKA_JARS_DIR", LOCAL / "kafka-jars"))


class SetupError(Exception):
    """One line that says what is wrong and what to do."""


def members() -> list[Path]:
    """Every workspace member: a folder below these four that holds a pyproject.toml."""
    kinds = ("libs", "services", "simulators", "deploy")
    return sorted(path.parent for kind in kinds for path in ROOT.glob(f"{kind}/*/pyproject.toml"))


def fingerprint() -> str:
    digest = hashlib.sha256(f"{ROOT}\n{sys.version}\n".encode())
    for path in [LOCK, Path(__file__), *(member / "pyproject.toml" for member in members())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def last_line(output: str) -> str:
    """The last line of a program of ours, which says itself what to do."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def explain(output: str) -> str:
    """The one line that explains an installer's output."""
    text = re.sub(r"https?://\S+", "", output.lower())  # the index may be named "proxy"
    if "no space left" in text or "read-only file system" in text or "permission denied" in text:
        return f"{last_line(output)}: is the disk full or read-only, is the folder yours?"
    if "certificate" in text or "ssl" in text:
        return (
            "the package index's certificate is not trusted here (a proxy with its own CA?): "
            "set SSL_CERT_FILE and PIP_CERT to your CA bundle"
        )
    if any(word in text for word in ("connect", "resolve", "timed out", "network", "dns", "proxy", "unreachable")):
        return (
            "the package index does not answer: check the network, set HTTPS_PROXY, "
            "or UV_DEFAULT_INDEX and PIP_INDEX_URL for a mirror"
        )
    if "tool.uv.sources" in text:
        return "a member is missing in pyproject.toml: run make generate"
    if "hash" in text:
        return "a package does not match its hash in requirements.lock: check the mirror that served it"
    return f"the installer said: {last_line(output)}"


def run(title: str, command: list[str], in_words: Callable[[str], str] = explain) -> None:
    """Runs one step with its title and time on the screen; raises ``SetupError`` when it fails."""
    started = time.monotonic()
    print(f"  {title} … ", end="", flush=True)
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(1)
                if sys.stdout.isatty():
                    print(f"\r  {title} … {time.monotonic() - started:.0f} s", end="", flush=True)
        except KeyboardInterrupt:
            child.wait()  # Ctrl-C reaches the child as well; a second installer would spoil the folder.
            raise
        output.seek(0)
        said = output.read()
    again = f"\r  {title} … " if sys.stdout.isatty() else ""
    if child.returncode != 0:
        print(f"{again}failed", flush=True)
        raise SetupError(f"{title}: {in_words(said)}{keep_details(command, said)}")
    print(f"{again}{time.monotonic() - started:.0f} s", flush=True)


def keep_details(command: list[str], said: str) -> str:
    """Where the whole output can be read; nothing where it cannot be written (a full disk may be the very cause)."""
    log = LOCAL / "log" / "setup.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"$ {' '.join(command)}\n{said}")
    except OSError:
        return ""
    return f" (details: {os.path.relpath(log, Path.cwd())})"


def check_python() -> None:
    try:
        import ensurepip  # noqa: F401  (its absence is the finding)
        import venv  # noqa: F401
    except ImportError as error:
        raise SetupError(
            "this Python has no venv module: on Debian or Ubuntu `apt-get install python3-venv`"
        ) from error


def uv_requirement() -> str:
    """The lock's own entry for uv, so that the first install is hash-checked as well."""
    match = re.search(r"^uv==.*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    if not match:
        raise SetupError("requirements.lock names no uv: run make lock")
    return match.group(0)


def install() -> None:
    uv = VENV / "bin" / "uv"
    # Not sys.executable: `make` finds python3 in .venv once it exists, and would remake it under a running stack.
    made = f"{ROOT}\n{sys.base_prefix}\n{sys.version}\n"
    if not PYTHON.exists() or not MADE.exists() or MADE.read_text() != made:
        # After an interruption or a move of the folder, its scripts start nothing.
        run("Creating .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
        wanted = VENV / "uv-requirement.txt"
        wanted.write_text(uv_requirement())
        # Without -q: otherwise pip does not say why an index gave nothing when it may not retry.
        pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
        run("Installing the installer (uv)", [*pip, "-r", str(wanted)])
        MADE.write_text(made)
    base = [str(uv), "pip", "install", "-q", "--python", str(PYTHON)]
    # Where Python cannot store bytecode, each start of a service would compile a thousand modules.
    compiled = ["--compile-bytecode"] if sys.dont_write_bytecode else []
    run("Installing the locked packages", [*base, *compiled, "--require-hashes", "-r", str(LOCK)])
    editable = [argument for member in members() for argument in ("-e", str(member))]
    run(f"Installing the {len(members())} members", [*base, "--no-deps", "--no-build-isolation", *editable])


def fetch_jars() -> None:
    run("Fetching Kafka (54 MB, once)", [str(PYTHON), "-m", "local_stack", "fetch"], last_line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-jars", action="store_true", help="leave Kafka's jars out (static checks need none)")
    parser.add_argument("--force", action="store_true", help="install again even when nothing has changed")
    options = parser.parse_args()
    try:
        check_python()
        wanted = fingerprint()
        if options.force or not STAMP.exists() or STAMP.read_text() != wanted:
            print("Setting up the workspace (a few minutes the first time)", flush=True)
            STAMP.unlink(missing_ok=True)
            install()
            STAMP.write_text(wanted)
        if not options.no_jars and not any(JARS.glob("kafka_*.jar")):
            fetch_jars()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return EXIT_SETUP
    except OSError as error:
        what = error.filename or ROOT
        print(f"setup: {what}: {error.strerror}: is the disk full or read-only, is the folder yours?", file=sys.stderr)
        return EXIT_SETUP
    except KeyboardInterrupt:
        print("\nsetup: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
