"""Settings of Kafka, as the command takes and refuses them."""

import pytest

from tests.kafka.scene import kafka_env
from tests.processes import Router
from tests.waiting import wait_for


class TestConfiguration:
    @pytest.mark.parametrize(
        ("env", "said"),
        [
            ({"KAFKA_BOOTSTRAP_SERVERS": ""}, "no Kafka given: set WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS"),
            ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, "'broker' is not host:port"),
            ({"KAFKA_TOPICS": "a,,b"}, "'' is not a topic"),
            ({"KAFKA_DEAD_LETTER_TOPIC": "events"}, "a circle"),
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
