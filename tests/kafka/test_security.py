"""SASL and TLS against a broker that demands them."""

import pytest

from consumer.domain.errors import Misconfigured
from consumer.domain.records import DeadLetter, Flaw, Flawed
from tests.kafka.broker import PASSWORD, USER, Cluster
from tests.kafka.reader import reading
from tests.kafka.scene import Scene
from tests.kafka.topics import events


class TestSecurity:
    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    async def test_a_user_gets_in_by_password(self, scene: Scene, kafka: Cluster, mechanism: str) -> None:
        """With SASL, and writes dead letters with it too."""
        await scene.topics.send(scene.topic, events(5))
        about = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            "sasl_username": USER,
            "sasl_password": PASSWORD,
        }
        address = f"localhost:{kafka.brokers[0].sasl_port}"
        async with reading(address, scene.topic, scene.group, connection=about, dead_letter_topic=scene.dead) as reader:
            records = await reader.read(5)
            flawed = Flawed(flaw=Flaw.REFUSED, reason="by a test")
            await reader.source.dead_letter([DeadLetter(record=records[0], flawed=flawed)])
        assert len(await scene.topics.read(scene.dead)) == 1

    async def test_a_wrong_password_is_the_configuration(self, scene: Scene, kafka: Cluster) -> None:
        """At the start it is Fatal, in words that say what to check, but not the password."""
        about = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": USER,
            "sasl_password": "wrong-secret",
        }
        async with reading(
            f"localhost:{kafka.brokers[0].sasl_port}", scene.topic, scene.group, connection=about
        ) as reader:
            with pytest.raises(Misconfigured, match=r"refuses to let us in.*check") as caught:
                await reader.source.poll(limit=1, timeout=0.1)
            assert "wrong-secret" not in str(caught.value)

    async def test_a_mechanism_that_the_broker_has_not_is_the_configuration(self, scene: Scene, kafka: Cluster) -> None:
        """The answer names those that it has."""
        about = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
        }
        async with reading(
            f"localhost:{kafka.brokers[0].sasl_port}", scene.topic, scene.group, connection=about
        ) as reader:
            with pytest.raises(Misconfigured, match=r"refuses to let us in: it does not have SCRAM-SHA-512, but PLAIN"):
                await reader.source.poll(limit=1, timeout=0.1)

    async def test_tls_with_certificates_on_both_sides(self, scene: Scene, kafka: Cluster) -> None:
        """The broker wants ours, and we know its authority."""
        await scene.topics.send(scene.topic, events(5))
        assert kafka.certificates is not None
        about = {
            "security_protocol": "SSL",
            "ssl_cafile": kafka.certificates.authority,
            "ssl_certfile": kafka.certificates.certificate,
            "ssl_keyfile": kafka.certificates.key,
        }
        async with reading(
            f"localhost:{kafka.brokers[0].tls_port}", scene.topic, scene.group, connection=about
        ) as reader:
            assert len(await reader.read(5)) == 5

    async def test_a_password_over_tls(self, scene: Scene, kafka: Cluster) -> None:
        """SASL_SSL with the longer SCRAM; the broker shows its certificate and wants none of ours."""
        await scene.topics.send(scene.topic, events(5))
        assert kafka.certificates is not None
        about = {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
            "ssl_cafile": kafka.certificates.authority,
        }
        async with reading(
            f"localhost:{kafka.brokers[0].sasl_tls_port}", scene.topic, scene.group, connection=about
        ) as reader:
            assert len(await reader.read(5)) == 5

    async def test_an_unknown_authority_is_the_configuration(self, scene: Scene, kafka: Cluster) -> None:
        """A broker that cannot prove who it is gets no connection."""
        async with reading(
            f"localhost:{kafka.brokers[0].tls_port}",
            scene.topic,
            scene.group,
            connection={"security_protocol": "SSL"},
        ) as reader:
            with pytest.raises(Misconfigured, match=r"no TLS with .*certificate"):
                await reader.source.poll(limit=1, timeout=0.1)

    async def test_a_certificate_file_that_is_not_there_is_the_configuration(
        self, scene: Scene, kafka: Cluster
    ) -> None:
        """Its path is named."""
        about = {"security_protocol": "SSL", "ssl_cafile": "/no/such/file.pem"}
        async with reading(kafka.bootstrap, scene.topic, scene.group, connection=about) as reader:
            with pytest.raises(Misconfigured, match=r"cannot read the certificate /no/such/file\.pem"):
                await reader.source.poll(limit=1, timeout=0.1)
