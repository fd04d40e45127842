"""HAPI's structures of HL7 2.3 to 2.5.1 as a separate program that finds the rules of the standard a message breaks.

HAPI is an independent implementation, made from HL7's own tables. Its program runs on Kafka's Java, a runtime without a
compiler, so the compiler (ecj) is one of the jars. Every jar is checked against ``hl7-jars.lock``.
"""

import base64
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hl7v2 import Message
from local_stack.kafka import JarsError, classpath, fetch_jars, java

HAPI_VERSION = "2.6.0"
ECJ_VERSION = "3.42.0"
VERSIONS = ("2.3", "2.3.1", "2.4", "2.5", "2.5.1")
ENDPOINT = "+".join([
    f"ca.uhn.hapi:hapi-base:{HAPI_VERSION}",
    *(f"ca.uhn.hapi:hapi-structures-v{version.replace('.', '')}:{HAPI_VERSION}" for version in VERSIONS),
    f"org.eclipse.jdt:ecj:{ECJ_VERSION}",
])  # fmt: skip

HERE = Path(__file__).parent
SOURCE = HERE / "CheckStructures.java"
LOCK = HERE / "hl7-jars.lock"
ROOT = HERE.parents[1]
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m")
_COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"


class NoCheckerError(Exception):
    """Java is missing, or its jars cannot be had; the text says which."""


@dataclass(frozen=True, order=True)
class Finding:
    """A rule that a message breaks: ``where`` is a segment or a field such as SCH-6."""

    message: int
    where: str
    rule: str


@dataclass(frozen=True)
class Checker:
    """The compiled program."""

    command: tuple[str, ...]

    def findings(self, messages: Sequence[bytes]) -> list[Finding]:
        """The broken rules of each of ``messages``. AssertionError when the program did not read all of them."""
        lines = [base64.b64encode(_text(one).encode()) for one in messages]
        done = subprocess.run(
            self.command, input=b"\n".join(lines) + b"\n", capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        *found, last = done.stdout.decode().splitlines()
        word, read, fields = last.split("\t")
        assert (word, int(read)) == ("read", len(messages))
        assert int(fields) > 0 or found, "the program looked at no field"
        return [Finding(int(number), where, rule) for number, where, rule in (line.split("\t", 2) for line in found)]


def _text(message: bytes) -> str:
    return message.decode(Message.parse(message).codec)


def make_checker(classes: Path) -> Checker:
    """Fetches the jars once into ``.local`` and compiles the program into ``classes``. NoCheckerError on failure."""
    local = Path(os.environ.get("SUITE_LOCAL_DIR", ROOT / ".local"))
    try:
        program = java()
        fetch_jars(folder := local / "hl7-jars", endpoint=ENDPOINT, lock=LOCK)
    except JarsError as error:
        if "does not match" in str(error):
            raise  # changed jars must fail the test, not skip it
        raise NoCheckerError(str(error)) from error
    jars = classpath(folder)
    compiled = subprocess.run(
        [program, *_QUICK, "-cp", jars, _COMPILER, "-17", "-cp", jars, "-d", str(classes), str(SOURCE)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr[-2000:]
    return Checker((program, *_QUICK, "-cp", f"{classes}:{jars}", SOURCE.stem))
