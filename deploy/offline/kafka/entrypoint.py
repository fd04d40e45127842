"""Starts Kafka from the environment like the public apache/kafka image, so that either image serves.

``KAFKA_FOO_BAR`` gives ``foo.bar``; two underscores stand for one, three for a dash. Without any such variable a single
broker listens on 9092, as in the public image.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROPERTIES = Path("/tmp/server.properties")  # noqa: S108 (a container's own)
LOG4J = Path("/tmp/log4j2.properties")  # noqa: S108
NO_PROPERTIES = frozenset({
    "KAFKA_VERSION", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JMX_HOSTNAME",
    "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_GC_LOG_OPTS", "KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
})  # fmt: skip
"""Variables about the Java machine or the logs, as in the public image."""
DEFAULTS = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
    "advertised.listeners": "PLAINTEXT://localhost:9092",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "controller.quorum.voters": "1@localhost:9093",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.dirs": "/tmp/kraft-combined-logs",  # noqa: S108
}
_LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1} - %m%n
rootLogger.level = LEVEL
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """The server's properties from the environment, or the defaults when it has none."""
    found = {}
    for name, value in environment.items():
        if not name.startswith("KAFKA_") or name in NO_PROPERTIES:
            continue
        dashed = name.removeprefix("KAFKA_").lower().replace("___", "-")
        found[dashed.replace("__", "\0").replace("_", ".").replace("\0", "_")] = value
    return found or dict(DEFAULTS)


def formatted(chosen: Mapping[str, str]) -> bool:
    folders = chosen.get("log.dirs", chosen.get("log.dir", DEFAULTS["log.dirs"])).split(",")
    return all((Path(folder.strip()) / "meta.properties").exists() for folder in folders)


def main() -> int:
    chosen = properties(os.environ)
    PROPERTIES.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))
    LOG4J.write_text(_LOG4J.replace("LEVEL", os.environ.get("KAFKA_LOG4J_ROOT_LOGLEVEL", "warn")))
    java = ["java", *os.environ["KAFKA_HEAP_OPTS"].split(), "-XX:+UseSerialGC", "-Djava.awt.headless=true"]
    java += os.environ.get("KAFKA_OPTS", "").split()
    java += [f"-Dlog4j2.configurationFile={LOG4J}", "-cp", "/opt/kafka/libs/*"]
    if not formatted(chosen):
        cluster = os.environ.get("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw")
        command = [
            *java,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster,
            "-c",
            str(PROPERTIES),
            "--ignore-formatted",
        ]
        if "controller.quorum.voters" not in chosen:
            command.append("--standalone")
        done = subprocess.run(command, check=False)
        if done.returncode != 0:
            print("kafka: the log folder could not be formatted (see above)", file=sys.stderr)
            return done.returncode
    os.execvp("java", [*java, "kafka.Kafka", str(PROPERTIES)])  # noqa: S606 (it becomes the container's process)
    return 0


if __name__ == "__main__":
    sys.exit(main())
