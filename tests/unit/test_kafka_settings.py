"""The settings of Kafka: what goes together, where the password comes from, and that nobody sees it."""

import re
from datetime import UTC, datetime
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
OAUTH = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}


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


def test_topics_by_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole names, never the dead letters, and not beside names: an argument wins over the environment."""
    monkeypatch.setenv("WEBHOOK_ROUTER_KAFKA_TOPICS_PATTERN", r"shop\..*")
    options = config.load(kafka_bootstrap_servers="a:9092", kafka_dead_letter_topic="shop.dead").kafka()[1]
    there = {"shop.a", "shop.b", "shop.dead", "my.shop.c"}
    assert options.wanted(there) == {"shop.a", "shop.b"}
    assert not options.topics
    assert not options.missing(there)
    assert options.missing({"shop.dead"}) == (r"shop\..*",)
    with pytest.raises(Misconfigured, match="names no topic to write to: give one by --topic"):
        config.load().kafka_topic()
    assert config.load(kafka_topics="a").kafka_topic() == "a"
    monkeypatch.setenv("WEBHOOK_ROUTER_KAFKA_TOPICS", "a")
    with pytest.raises(Misconfigured, match="both set; keep one of them"):
        config.load(kafka_bootstrap_servers="a:9092").kafka()
    assert config.load(kafka_bootstrap_servers="a:9092", kafka_topics_pattern="b").kafka()[1].topics == ()
    monkeypatch.setenv("WEBHOOK_ROUTER_KAFKA_TOPICS_PATTERN", "")
    assert config.load(kafka_bootstrap_servers="a:9092").kafka()[1].topics == ("a",)


def test_a_group_may_begin_at_a_time() -> None:
    """Given with its zone."""
    options = config.load(kafka_bootstrap_servers="a:9092", kafka_start="2026-01-31T09:30:00+01:00").kafka()[1]
    assert options.start == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)


def test_a_command_for_tokens_is_taken_apart() -> None:
    """As a shell would, which does not run it."""
    given = OAUTH | {"kafka_bootstrap_servers": "a:9092", "kafka_sasl_oauth_token_command": "sign 'for us' $HOME"}
    assert config.load(**given).kafka()[0].oauth.token_command == ("sign", "for us", "$HOME")


def test_the_password_comes_from_one_place(elsewhere: Path) -> None:
    """From the environment or from a file."""
    secret = elsewhere / "password"
    secret.write_text("from-file\n")
    assert config.load(**SASL, kafka_sasl_password="hunter2").kafka()[0].sasl_password == "hunter2"
    assert config.load(**SASL, kafka_sasl_password_file=secret).kafka()[0].sasl_password == "from-file"
    with pytest.raises(Misconfigured, match="both set"):
        config.load(**SASL, kafka_sasl_password="x", kafka_sasl_password_file=secret).kafka()
    with pytest.raises(
        Misconfigured, match=r"cannot read the password \(WEBHOOK_ROUTER_KAFKA_SASL_PASSWORD_FILE\) from"
    ):
        config.load(**SASL, kafka_sasl_password_file=elsewhere / "none").kafka()
    secret.write_text("\n")
    with pytest.raises(
        Misconfigured, match=r"the SASL password is empty: check WEBHOOK_ROUTER_KAFKA_SASL_PASSWORD\(_FILE\)"
    ):
        config.load(**SASL, kafka_sasl_password_file=secret).kafka()
    with pytest.raises(Misconfigured, match="needs WEBHOOK_ROUTER_KAFKA_SASL_USERNAME"):
        config.load(**SASL).kafka()


def test_the_password_of_a_key_comes_from_one_place(elsewhere: Path) -> None:
    """As the other one."""
    (elsewhere / "password").write_text("from-file\n")
    by_file = {"kafka_ssl_certfile": "cert.pem", "kafka_ssl_key_password_file": elsewhere / "password"}
    assert config.load(**SASL, **by_file, kafka_sasl_password="x").kafka()[0].ssl_key_password == "from-file"
    with pytest.raises(Misconfigured, match=r"KAFKA_SSL_KEY_PASSWORD and .*_FILE are both set; keep one"):
        config.load(**SASL, **by_file, kafka_sasl_password="x", kafka_ssl_key_password="y").kafka()
    (elsewhere / "password").unlink()
    with pytest.raises(
        Misconfigured, match=rf"the password of the key \(WEBHOOK_ROUTER_KAFKA_SSL_KEY_PASSWORD_FILE\) from {elsewhere}"
    ):
        config.load(**SASL, **by_file, kafka_sasl_password="x").kafka()


def test_the_password_is_never_shown() -> None:
    """Not in `config`, and not where the connection is printed by accident; nor that of a key."""
    settings = config.load(
        **SASL, kafka_sasl_password="hunter2", kafka_ssl_certfile="cert.pem", kafka_ssl_key_password="hunter2"
    )
    assert settings.kafka()[0].ssl_key_password == "hunter2"
    assert "hunter2" not in str(config.table(settings))
    assert "hunter2" not in repr(settings.kafka())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_bootstrap_servers": ""}, "no Kafka given: set WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS"),
        ({"kafka_bootstrap_servers": "broker"}, "'broker' is not host:port"),
        ({"kafka_topics": "a,,b"}, "WEBHOOK_ROUTER_KAFKA_TOPICS: '' is not a topic"),
        ({"kafka_topics": "a/b"}, "'a/b' is not a topic"),
        ({"kafka_dead_letter_topic": "webhook-events"}, "would be read again"),
        ({"kafka_security_protocol": "SASL_SSL"}, "SASL_SSL needs WEBHOOK_ROUTER_KAFKA_SASL_USERNAME"),
        ({"kafka_sasl_username": "me"}, "must be SASL_SSL or SASL_PLAINTEXT"),
        ({"kafka_start": "middle"}, "WEBHOOK_ROUTER_KAFKA_START"),
        ({"kafka_batch_size": 0}, "WEBHOOK_ROUTER_KAFKA_BATCH_SIZE"),
        (
            {"kafka_start": "2026-01-31T09:30:00"},
            "_KAFKA_START: must be earliest, latest or a time with its zone, such as",
        ),
        ({"kafka_topics_pattern": "a("}, "WEBHOOK_ROUTER_KAFKA_TOPICS_PATTERN is not a regular expression"),
        ({"kafka_group_instance_id": "a b"}, "WEBHOOK_ROUTER_KAFKA_GROUP_INSTANCE_ID: 'a b' is not a name"),
        ({"kafka_session_timeout": 400}, "must not be longer than WEBHOOK_ROUTER_KAFKA_MAX_POLL_INTERVAL"),
        (
            {"kafka_poll_timeout": 5, "kafka_max_poll_interval": 5, "kafka_session_timeout": 5},
            "KAFKA_POLL_TIMEOUT must",
        ),
        ({"kafka_request_timeout": 10}, "must be longer than WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT"),
        ({"kafka_fetch_max_wait": 15}, "must be shorter than WEBHOOK_ROUTER_KAFKA_REQUEST_TIMEOUT"),
        ({"kafka_fetch_min_bytes": 2048, "kafka_fetch_max_bytes": 1024}, "must not be more than"),
        ({"kafka_ssl_keyfile": "key.pem"}, "WEBHOOK_ROUTER_KAFKA_SECURITY_PROTOCOL must be SSL or SASL_SSL"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ssl_keyfile": "key.pem"},
            "set WEBHOOK_ROUTER_KAFKA_SSL_CERTFILE too",
        ),
        (
            {"kafka_sasl_oauth_token_file": "t"},
            "KAFKA_SASL_OAUTH_TOKEN_FILE is set; WEBHOOK_ROUTER_KAFKA_SECURITY_PROTOCOL",
        ),
        (SASL | {"kafka_sasl_oauth_token_file": "t"}, "WEBHOOK_ROUTER_KAFKA_SASL_MECHANISM must be OAUTHBEARER"),
        (
            SASL | {"kafka_sasl_mechanism": "OAUTHBEARER"},
            "OAUTHBEARER needs one of WEBHOOK_ROUTER_KAFKA_SASL_OAUTH_TOKEN",
        ),
        (OAUTH | {"kafka_sasl_oauth_token_command": "a 'b"}, "cannot be taken apart as a shell would"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_wrong_setting_is_told_in_one_line(given: dict[str, Any], said: str) -> None:
    """By its name, and with what is wrong about it."""
    with pytest.raises(Misconfigured, match=re.escape(said)):
        config.load(**{"kafka_bootstrap_servers": "a:9092"} | given).kafka()
