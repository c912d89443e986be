"""A worker of Kafka Connect: one process that runs any number of connectors, told over HTTP."""

import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.kafka.broker import SUPERVISOR, KafkaUnavailable, fetched, java
from tests.ports import free_port
from tests.waiting import wait_for

VERSION = "3.6.1"
FOLDER = Path(__file__).parent
JVM = ("-Xms128m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")


@functools.cache
def jars() -> Path:
    """The folder with the jars of Connect and Debezium; the first call ever fetches them, about 38 MB.

    Raises:
        KafkaUnavailable: they are not there and cannot be fetched.
        JarsAltered: they are others than those that were recorded.
    """
    return fetched("Debezium", FOLDER / "pom.xml", FOLDER / "jars.sha256", f"debezium-{VERSION}")


class Worker:
    """A running worker. It ends with the process that has started it, even if that one is killed."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.address = f"http://localhost:{free_port()}"
        self.folder = folder
        self._log = folder / "worker.log"
        properties = folder / "worker.properties"
        lines = {
            "bootstrap.servers": bootstrap,
            "listeners": self.address,
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": str(folder / "offsets"),
            "offset.flush.interval.ms": "60000",
            "plugin.discovery": "service_load",
            "config.providers": "file",
            "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
        }
        properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        command = [
            *(java(), *JVM, f"-Djava.io.tmpdir={folder}", "-cp", f"{jars()}/*"),
            *("org.apache.kafka.connect.cli.ConnectStandalone", str(properties)),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", SUPERVISOR, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def until_up(self) -> None:
        """Waits until it can be told something."""

        def up() -> bool:
            assert self._process.poll() is None, f"the worker has ended: {self.log()[-3000:]}"
            with contextlib.suppress(OSError):
                return self._ask("GET", "/") is not None
            return False

        wait_for(up, what="the worker of Kafka Connect")

    def start(self, name: str, config: Mapping[str, str]) -> None:
        """Starts a connector; `until_running` waits for it. AssertionError with what is wrong with its properties."""
        try:
            self._ask("POST", "/connectors", {"name": name, "config": dict(config)})
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{name}: {error.read().decode()[:3000]}") from None

    def until_running(self, name: str) -> None:
        """Waits until the connector's task runs; AssertionError with what it says once it has failed."""

        def runs() -> bool:
            try:
                tasks = self._ask("GET", f"/connectors/{name}/status")["tasks"]
            except urllib.error.HTTPError:  # a moment after its start there is no status
                return False
            assert not any(task["state"] == "FAILED" for task in tasks), tasks[0]["trace"][:3000]
            return bool(tasks) and all(task["state"] == "RUNNING" for task in tasks)

        wait_for(runs, what=f"the connector {name}")

    def delete(self, name: str) -> None:
        """Stops a connector."""
        self._ask("DELETE", f"/connectors/{name}")

    def end(self) -> None:
        """Kills the process; returns when it is gone."""
        self._process.communicate()

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def running(bootstrap: str) -> Iterator[Worker]:
    """A worker for the duration of the `with` block.

    Raises:
        KafkaUnavailable: Java or Maven is missing.
    """
    java(), jars()
    folder = Path(tempfile.mkdtemp(prefix="connect-"))
    worker = None
    try:
        worker = Worker(bootstrap, folder)
        worker.until_up()
        yield worker
    finally:
        if worker is not None:
            worker.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":  # what `make tools` calls, so that tests need not wait for it
    with contextlib.suppress(KafkaUnavailable):  # they will say so
        jars()
