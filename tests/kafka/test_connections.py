"""Whatever is wrong with a connection, or with what the group is told, is named with the setting to change."""

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.adapters.kafka.options import KafkaConnection, OAuth
from consumer.adapters.kafka.reasons import unreachable, why_unreachable_as_advertised
from consumer.domain.errors import Misconfigured, Transient
from tests.kafka.broker import LOST_HOST, PASSWORD, USER, Cluster
from tests.kafka.reader import Reader, reading, sizes
from tests.kafka.scene import Scene, kafka_env
from tests.kafka.topics import events
from tests.processes import clean_environment

SASL = {"sasl_username": USER, "sasl_password": PASSWORD}
PROTOCOL = "WEBHOOK_ROUTER_KAFKA_SECURITY_PROTOCOL must be"


def token(seconds: float = 3600) -> str:
    """A token that nobody has signed, as the brokers of the tests take them."""
    claims = {"sub": "router", "iat": int(time.time() - 7200), "exp": int(time.time() + seconds)}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims))
    return ".".join(part.decode() for part in parts) + "."


async def refusal(scene: Scene, port: int, *, bootstrap: str = "", about: dict[str, Any], **options: Any) -> str:
    """Why a source does not start, for good; soon."""
    async with reading(
        bootstrap or f"localhost:{port}", scene.topic, scene.group, connection=about, **options
    ) as reader:
        with pytest.raises(Misconfigured) as caught:
            await reader.until(lambda: False, timeout=20)
        return str(caught.value)


class TestProtocols:
    async def test_each_mismatch_says_what_to_set(self, scene: Scene, kafka: Cluster) -> None:
        """At once, in both directions; what it says is what the test beside it uses, and gets in with."""
        broker, certificates = kafka.brokers[0], kafka.certificates
        assert certificates is not None
        trust = {"ssl_cafile": certificates.authority}
        ours = trust | {"ssl_certfile": certificates.certificate, "ssl_keyfile": certificates.key}
        for port, about, said in (
            (broker.tls_port, {}, f"speaks TLS: {PROTOCOL} SSL or SASL_SSL"),
            (broker.tls_port, {"security_protocol": "SASL_PLAINTEXT"} | SASL, f"speaks TLS: {PROTOCOL} SASL_SSL"),
            (
                broker.sasl_port,
                {},
                f"{PROTOCOL} SASL_PLAINTEXT, and WEBHOOK_ROUTER_KAFKA_SASL_MECHANISM one of PLAIN, ",
            ),
            (broker.port, {"security_protocol": "SSL"}, f"not speak TLS: {PROTOCOL} PLAINTEXT or SASL_PLAINTEXT"),
            (broker.sasl_port, {"security_protocol": "SASL_SSL"} | SASL, f"not speak TLS: {PROTOCOL} SASL_PLAINTEXT"),
            (broker.sasl_tls_port, {"security_protocol": "SSL"} | trust, f"wants SASL: {PROTOCOL} SASL_SSL"),
            (broker.tls_port, {"security_protocol": "SSL"} | trust, "wants a certificate of ours: set WEBHOOK_ROUTER_"),
            (broker.port, {"security_protocol": "SASL_PLAINTEXT"} | SASL, f"wants no SASL: {PROTOCOL} PLAINTEXT"),
            (broker.tls_port, {"security_protocol": "SASL_SSL"} | SASL | ours, f"wants no SASL: {PROTOCOL} SSL"),
            (
                broker.sasl_port,
                {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512"} | SASL,
                "does not have SCRAM-SHA-512, but PLAIN, SCRAM-SHA-256; check WEBHOOK_ROUTER_KAFKA_SASL_MECHANISM",
            ),
        ):
            began = time.monotonic()
            assert said in await refusal(scene, port, about=about)
            assert time.monotonic() - began < 15

    async def test_a_user_gets_in_by_token(self, scene: Scene, kafka: Cluster, tmp_path: Path) -> None:
        """From a file or a command; one that has expired is refused, in words without it."""
        await scene.topics.send(scene.topic, events(5))
        port, file = kafka.brokers[0].token_port, tmp_path / "token"

        def about(**oauth: Any) -> dict[str, Any]:
            by_token = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
            return by_token | {"oauth": OAuth(**oauth)}

        file.write_text(token(-3600))
        said = await refusal(scene, port, about=about(token_file=file))
        assert "refuses to let us in: it does not accept the token" in said
        assert file.read_text() not in said
        assert "No such file" in await refusal(scene, port, about=about(token_file=tmp_path / "none"))
        file.write_text(token())
        for oauth in ({"token_file": file}, {"token_command": ("cat", str(file))}):
            address, group = f"localhost:{port}", f"{scene.group}-{len(oauth)}-{next(iter(oauth))}"
            async with reading(address, scene.topic, group, connection=about(**oauth)) as reader:
                assert len(await reader.read(5)) == 5


class TestNames:
    async def test_names_that_are_not_found_are_told(self, scene: Scene, kafka: Cluster) -> None:
        """Those of the settings and those that the cluster has for its brokers; the source waits for them."""
        for bootstrap, said in (
            (
                "one.invalid:9092,two.invalid:9092",
                "cannot find the host one.invalid, two.invalid: check WEBHOOK_ROUTER_",
            ),
            ("one.invalid:9092,localhost:1", "one.invalid:9092: cannot find the host; localhost:1: Connection refused"),
            (
                f"localhost:{kafka.brokers[0].lost_port}",
                f"advertised by the cluster ({LOST_HOST}:{kafka.brokers[0].lost_port}: cannot find the host)",
            ),
        ):
            async with reading(bootstrap, scene.topic, scene.group) as reader:
                with pytest.raises(Transient) as caught:
                    await reader.source.poll(limit=1, timeout=0.1)
                assert said in str(caught.value)

    async def test_one_broker_of_several_is_told_apart(self, kafka: Cluster) -> None:
        """Where the others can be reached."""
        about = KafkaConnection(bootstrap_servers=kafka.bootstrap)
        brokers = [("localhost", kafka.brokers[0].port), (LOST_HOST, 9092)]
        arguments = {"security_protocol": "PLAINTEXT"}
        assert await unreachable(brokers, about, arguments) == f"{LOST_HOST}:9092: cannot find the host"
        assert await why_unreachable_as_advertised(brokers, about, arguments) is None

    @pytest.mark.parametrize("named", ["by the settings", "by the cluster"])
    def test_produce_ends_soon_with_one_line(self, kafka: Cluster, named: str) -> None:
        """And no traceback, of whatever library."""
        lost = f"localhost:{kafka.brokers[0].lost_port}"
        bootstrap = lost if named == "by the cluster" else "one.invalid:9092"
        done = subprocess.run(
            [sys.executable, "-m", "consumer", "produce", "-"],
            input='{"channel":"instagram","event_id":"m_1","author_id":"a_1","content":"Hello"}\n',
            env=clean_environment() | kafka_env(bootstrap, "events", "dead", "group"),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "cannot find the host" in done.stderr


class TestGroup:
    async def test_what_the_brokers_refuse_is_the_configuration(self, scene: Scene) -> None:
        """A session that is too short or too long for them, and a group whose members assign partitions otherwise."""
        bootstrap = scene.topics.bootstrap
        for session in (0.5, 3600.0):
            said = await refusal(scene, 0, bootstrap=bootstrap, about={}, session_timeout=session)
            assert "WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT: it must lie between" in said
        strangers = AIOKafkaConsumer(
            scene.topic,
            bootstrap_servers=bootstrap,
            group_id=scene.group,
            partition_assignment_strategy=(RangePartitionAssignor,),
        )
        async with strangers:
            said = await refusal(scene, 0, bootstrap=bootstrap, about={})
        assert "WEBHOOK_ROUTER_KAFKA_GROUP_ID must name a group of its own" in said
        async with reading(bootstrap, scene.topic, f"{scene.group}-own") as reader:  # as it says
            await reader.until(lambda: sizes(reader) == [6])

    async def test_a_named_member_is_back_within_its_session_without_a_rebalance(self, scene: Scene) -> None:
        """The other one keeps its partitions, and learns nothing of it. Racks and small fetches change nothing."""
        about: dict[str, Any] = {"session_timeout": 20.0, "client_rack": "zone-a"}
        about |= {
            "fetch_max_bytes": 2048,
            "max_partition_fetch_bytes": 1024,
            "fetch_min_bytes": 100,
            "fetch_max_wait": 0.2,
        }
        named = {"client_id": "tests", "request_timeout": 40.0}

        @contextlib.asynccontextmanager
        async def member(name: str) -> AsyncIterator[Reader]:
            bootstrap, topic, group = scene.topics.bootstrap, scene.topic, scene.group
            async with reading(bootstrap, topic, group, connection=named, group_instance_id=name, **about) as reader:
                yield reader

        async with member("one") as one:
            await one.until(lambda: sizes(one) == [6])
            async with member("two") as two:
                await asyncio.gather(one.until(lambda: sizes(one) == [6, 3]), two.until(lambda: sizes(two)[-1:] == [3]))
            async with member("two") as two:
                await scene.topics.send(scene.topic, events(100))
                (read, again) = await asyncio.gather(one.read(1), two.read(1))
                assert read
                assert again
            assert sizes(one) == [6, 3]

    async def test_two_with_one_name_are_told(self, scene: Scene) -> None:
        """They take turns, until one sees it and ends, with the setting to change."""
        about: dict[str, Any] = {"group_instance_id": "the-same", "session_timeout": 2.0}
        async with (
            reading(scene.topics.bootstrap, scene.topic, scene.group, **about) as one,
            reading(scene.topics.bootstrap, scene.topic, scene.group, **about) as other,
        ):
            tasks = [asyncio.create_task(reader.until(lambda: False, timeout=60)) for reader in (one, other)]
            done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            with pytest.raises(Misconfigured, match="GROUP_INSTANCE_ID must be different for each replica"):
                done.pop().result()
