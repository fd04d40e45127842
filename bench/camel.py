"""Apache Camel's ``mllp → kafka`` route as a program: its own Main, one YAML route, acks=all; no code of the suite.

Camel answers AA when Kafka has acknowledged the record. It keeps no state, no journal and no inbox, so a repeat is a
second record. Its jars come from Maven Central, each checked against ``camel-jars.lock``.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack import kafka
from local_stack.ports import free_port

VERSION = "4.22.0"
ENDPOINT = "+".join([
    "org.apache.kafka:kafka-clients:4.3.1",  # required by camel-parent
    *(f"org.apache.camel:camel-{name}:{VERSION}" for name in ("main", "mllp", "kafka", "yaml-dsl")),
    "org.apache.logging.log4j:log4j-slf4j2-impl:2.25.3",
])  # fmt: skip
JARS = Path(os.environ.get("SUITE_LOCAL_DIR", Path(__file__).parents[1] / ".local")) / "camel-jars"
LOCK = Path(__file__).with_name("camel-jars.lock")
WARM_SECONDS = 75
"""Camel's speed doubles after a minute, when the compiler has seen enough."""
_ROUTE = """
- route:
    from:
      uri: "mllp:127.0.0.1:{port}"
      parameters: {{autoAck: true, backlog: 256, maxConcurrentConsumers: 100}}
      steps:
        - to:
            uri: "kafka:{topic}"
            parameters: {{brokers: "{bootstrap}", requestRequiredAcks: all, enableIdempotence: true}}
"""
_JVM = ("-Xmx512m", "-Xms256m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN")


def fetch() -> list[Path]:
    """Camel's jars, fetched on the first call. Raises ``local_stack.kafka.JarsError``."""
    return kafka.fetch_jars(JARS, endpoint=ENDPOINT, lock=LOCK)


@contextmanager
def listening(folder: Path, bootstrap: str, topic: str) -> Iterator[int]:
    """Runs the route, listening on the given port. Raises ``local_stack.kafka.JarsError`` without its jars."""
    jars = fetch()
    port = free_port()
    (folder / "route.yaml").write_text(_ROUTE.format(port=port, topic=topic, bootstrap=bootstrap))
    settings = f"camel.main.routes-include-pattern=file:{folder / 'route.yaml'}\n"
    (folder / "application.properties").write_text(settings)
    classpath = ":".join([str(folder), *map(str, jars)])
    log = folder / "camel.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [kafka.java(), *_JVM, "-cp", classpath, "org.apache.camel.main.Main"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def write_lock() -> None:
    """`python -m bench.camel`: fetches the jars anew and writes their hashes to the lock."""
    LOCK.unlink(missing_ok=True)
    lines = [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}" for jar in fetch()]
    LOCK.write_text("\n".join(["# SHA-256 of every jar that the Camel route beside P2 and P3 runs on", *lines]) + "\n")


if __name__ == "__main__":
    write_lock()
