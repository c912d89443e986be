"""The settings of Kafka: what goes together, where the password comes from, and that nobody sees it."""

import re
from pathlib import Path
from typing import Any

import pytest

from consumer import config
from consumer.domain.errors import Misconfigured

SASL = {
    "kafka_bootstrap_servers": "a:9092, [::1]:9093",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_username": "me",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without .env, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name, _, _ in config.table(config.Settings()):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_defaults_are_enough_but_for_the_brokers() -> None:
    """Topics, group and dead letters have names; a new group begins at the beginning."""
    connection, options = config.load(kafka_bootstrap_servers="a:9092").kafka()
    assert (connection.security_protocol, connection.sasl_password) == ("PLAINTEXT", None)
    assert options.topics == ("webhook-events",)
    assert options.dead_letter_topic == "webhook-events.dead-letters"
    assert (options.group_id, options.start) == ("webhook-router", "earliest")


def test_topics_are_told_by_commas() -> None:
    """Spaces and repetitions do not count."""
    options = config.load(kafka_bootstrap_servers="a:9092", kafka_topics="a, b,a").kafka()[1]
    assert options.topics == ("a", "b")


def test_the_password_comes_from_one_place(elsewhere: Path) -> None:
    """From the environment or from a file."""
    secret = elsewhere / "password"
    secret.write_text("from-file\n")
    assert config.load(**SASL, kafka_sasl_password="hunter2").kafka()[0].sasl_password == "hunter2"
    assert config.load(**SASL, kafka_sasl_password_file=secret).kafka()[0].sasl_password == "from-file"
    with pytest.raises(Misconfigured, match="both set"):
        config.load(**SASL, kafka_sasl_password="x", kafka_sasl_password_file=secret).kafka()
    with pytest.raises(Misconfigured, match="cannot read the password"):
        config.load(**SASL, kafka_sasl_password_file=elsewhere / "none").kafka()
    with pytest.raises(Misconfigured, match="needs WEBHOOK_ROUTER_KAFKA_SASL_USERNAME"):
        config.load(**SASL).kafka()


def test_the_password_is_never_shown() -> None:
    """Not in `config`, and not where the connection is printed by accident."""
    settings = config.load(**SASL, kafka_sasl_password="hunter2")
    assert "hunter2" not in str(config.table(settings))
    assert "hunter2" not in repr(settings.kafka())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_bootstrap_servers": ""}, "no Kafka given: set WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS"),
        ({"kafka_bootstrap_servers": "broker"}, "'broker' is not host:port"),
        ({"kafka_topics": "a,,b"}, "'' is not a topic"),
        ({"kafka_topics": "a/b"}, "'a/b' is not a topic"),
        ({"kafka_dead_letter_topic": "webhook-events"}, "would be read again"),
        ({"kafka_security_protocol": "SASL_SSL"}, "SASL_SSL needs WEBHOOK_ROUTER_KAFKA_SASL_USERNAME"),
        ({"kafka_sasl_username": "me"}, "must be SASL_SSL or SASL_PLAINTEXT"),
        ({"kafka_start": "middle"}, "WEBHOOK_ROUTER_KAFKA_START"),
        ({"kafka_batch_size": 0}, "WEBHOOK_ROUTER_KAFKA_BATCH_SIZE"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_wrong_setting_is_told_in_one_line(given: dict[str, Any], said: str) -> None:
    """By its name, and with what is wrong about it."""
    with pytest.raises(Misconfigured, match=re.escape(said)):
        config.load(**{"kafka_bootstrap_servers": "a:9092"} | given).kafka()
