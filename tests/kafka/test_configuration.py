"""Settings of Kafka, as the command takes and refuses them."""

import subprocess
import sys
from pathlib import Path

import orjson
import psycopg
import pytest

from tests.kafka.broker import PASSWORD, USER, Cluster
from tests.kafka.inbox import until_messages
from tests.kafka.scene import Scene, kafka_env
from tests.kafka.topics import event
from tests.processes import Router, clean_environment, running
from tests.waiting import wait_for


class TestConfiguration:
    @pytest.mark.parametrize("by_flag", [False, True], ids=["by environment", "by flag"])
    async def test_a_secured_cluster(
        self, scene: Scene, kafka: Cluster, database: str, db: psycopg.Connection, *, tmp_path: Path, by_flag: bool
    ) -> None:
        """With a password from a file, over TLS: `produce` writes, the service reads, and sets aside what it must."""
        assert kafka.certificates is not None
        (tmp_path / "password").write_text(PASSWORD + "\n")
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{kafka.brokers[0].sasl_tls_port}",
            "KAFKA_TOPICS": scene.topic,
            "KAFKA_GROUP_ID": scene.group,
            "KAFKA_DEAD_LETTER_TOPIC": scene.dead,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
            "KAFKA_SSL_CAFILE": str(kafka.certificates.authority),
        }
        env = {f"WEBHOOK_ROUTER_{name}": text for name, text in settings.items()}
        flags = [part for name, text in settings.items() for part in (f"--{name.lower().replace('_', '-')}", text)]
        of_connection = [*flags[:2], *flags[8:], "--topic", scene.topic]
        subprocess.run(
            [sys.executable, "-m", "consumer", "produce", "-", *(of_connection if by_flag else ())],
            input=orjson.dumps(event(1)),
            env=clean_environment() | ({} if by_flag else env),
            check=True,
            capture_output=True,
        )
        await scene.topics.send(scene.topic, [b"no event"])
        with running(database, "--source", "kafka", *(flags if by_flag else ()), env={} if by_flag else env) as router:
            until_messages(db, 1)
            await scene.until_committed(2)
            assert PASSWORD not in str(router.lines)
        (letter,) = await scene.topics.read(scene.dead)
        assert letter.value == b"no event"

    async def test_a_group_may_begin_at_the_end(self, scene: Scene, database: str, db: psycopg.Connection) -> None:
        """What was in the topic before the first start of the group is not routed, what comes after it is."""
        await scene.topics.send(scene.topic, [event(number) for number in range(50)])
        with running(database, "--kafka-start", "latest", env=scene.env):
            await scene.until_committed(50)
            await scene.topics.send(scene.topic, [event(50)])
            until_messages(db, 1)
        assert db.execute("select event_id from webhook_events").fetchall() == [("e50",)]

    @pytest.mark.parametrize(
        ("env", "said"),
        [
            ({"KAFKA_BOOTSTRAP_SERVERS": ""}, "no Kafka given: set WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS"),
            ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, "'broker' is not host:port"),
            ({"KAFKA_TOPICS": "a,,b"}, "'' is not a topic"),
            ({"KAFKA_DEAD_LETTER_TOPIC": "events"}, "would be read again"),
            ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_SSL needs WEBHOOK_ROUTER_KAFKA_SASL_USERNAME"),
            ({"KAFKA_SASL_USERNAME": "me"}, "must be SASL_SSL or SASL_PLAINTEXT"),
            ({"KAFKA_START": "middle"}, "KAFKA_START"),
        ],
        ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
    )
    def test_a_wrong_setting_ends_it_with_a_clear_line(self, env: dict[str, str], said: str) -> None:
        """Exit code 2, before anything is started."""
        settings = kafka_env("localhost:1", "events", "dead", "group")
        settings |= {f"WEBHOOK_ROUTER_{name}": text for name, text in env.items()}
        router = Router("postgresql://nobody@localhost:1/none", env=settings)
        assert router.stopped() == 2
        wait_for(lambda: said in str(router.lines), what=f"{said}, in {router.lines}")
        assert router.process.stderr is not None
        router.process.stderr.close()
