"""The settings of Kafka, and what of them goes together."""

import re
import shlex
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from consumer.adapters.kafka.options import REQUEST_TIMEOUT, SETTING, KafkaConnection, KafkaOptions, OAuth, Start
from consumer.adapters.secret_file import read_secret
from consumer.domain.errors import Misconfigured
from consumer.domain.records import UNAVAILABLE

SERVER = re.compile(r"[^\s:/,]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
PASSWORDS = {"kafka_sasl_password", "kafka_ssl_key_password"}
"""What they end in belongs to them."""
MAY_BE_EMPTY = {
    "kafka_topics_pattern",
    "kafka_group_instance_id",
    "kafka_client_rack",
    "kafka_sasl_oauth_token_file",
    "kafka_sasl_oauth_token_command",
    "kafka_sasl_oauth_msk_region",
    "kafka_ssl_key_password",
    "kafka_ssl_key_password_file",
}
"""Nothing is set by a variable without a value, as templates of deployments leave them behind."""


def _start(text: str) -> Start:
    """Raises ValueError, with what is allowed."""
    match text.strip().lower():
        case "earliest":
            return "earliest"
        case "latest":
            return "latest"
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.timestamp() < 0:
        raise ValueError("must be earliest, latest or a time with its zone, such as 2026-01-31T09:30:00Z")
    return moment


def check_topic(name: str, where: str) -> None:
    """Whether a topic can have the name; `where` says which setting or flag has it.

    Raises:
        Misconfigured: it cannot.
    """
    if not TOPIC.fullmatch(name) or name in {".", ".."}:
        raise Misconfigured(f"{where}: {name!r} is not a topic: its name has 1 to 249 letters, digits, dots, _ and -")


def _is_start(text: str) -> str:
    _start(text)
    return text


class KafkaSettings(BaseSettings):
    """The part of the settings that says how to reach Kafka, and what to read there."""

    kafka_bootstrap_servers: str | None = Field(default=None, description="Kafka brokers, host:port, comma-separated.")
    kafka_client_id: str = Field(
        default="webhook-router",
        min_length=1,
        description="Name of this client in the brokers' logs, metrics and quotas.",
    )
    kafka_topics: str = Field(default="webhook-events", description="Topics to read, comma-separated.")
    kafka_topics_pattern: str | None = Field(
        default=None,
        description="Regular expression for whole names of topics to read, instead of their names; "
        "never the dead-letter topic.",
    )
    kafka_group_id: str = Field(
        default="webhook-router", min_length=1, description="Consumer group whose replicas share the topics."
    )
    kafka_group_instance_id: str | None = Field(
        default=None,
        description="Name of this replica in the group, different for each: one that is back within its session "
        "keeps its partitions.",
    )
    kafka_client_rack: str | None = Field(
        default=None,
        description="Rack or zone of this replica, as the brokers call it: records are read from the nearest copy.",
    )
    kafka_dead_letter_topic: str = Field(
        default="webhook-events.dead-letters", description="Topic for records that can never be processed."
    )
    kafka_start: Annotated[str, AfterValidator(_is_start)] = Field(
        default="earliest",
        description="Where a group without offsets begins: earliest, latest, or a time such as 2026-01-31T09:30:00Z.",
    )
    kafka_batch_size: int = Field(default=1000, ge=1, le=10_000, description="Records that a poll takes at most.")
    kafka_poll_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=1.0, description="Seconds that a poll waits for the first record."
    )
    kafka_max_record_bytes: int = Field(
        default=4 * 1_048_576,
        ge=1,
        le=64 * 1_048_576,
        description="Bytes of the largest record; larger ones are dead letters. Meta's bodies have up to 3 MiB.",
    )
    kafka_unavailable_value: str = Field(
        default=UNAVAILABLE,
        min_length=1,
        description="What the connector writes for a value that it does not have: its unavailable.value.placeholder.",
    )
    kafka_fetch_max_bytes: int = Field(
        default=16 * 1_048_576,
        ge=1024,
        le=1024 * 1_048_576,
        description="Bytes that one broker sends at once, at most, but for a single larger batch.",
    )
    kafka_fetch_min_bytes: int = Field(
        default=1, ge=1, le=16 * 1_048_576, description="Bytes that a broker waits for before it answers."
    )
    kafka_fetch_max_wait: Annotated[float, Field(ge=0.001, le=60)] = Field(
        default=0.5, description="Seconds after which it answers with fewer."
    )
    kafka_max_partition_fetch_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        le=1024 * 1_048_576,
        description="Bytes of one partition that a broker sends at once, at most, but for a single larger batch.",
    )
    kafka_session_timeout: Annotated[float, Field(ge=1, le=1800)] = Field(
        default=10.0, description="Seconds of silence after which others get a replica's partitions."
    )
    kafka_max_poll_interval: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=300.0, description="Seconds after which a replica that takes no records leaves its group."
    )
    kafka_request_timeout: float | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="Seconds for an answer of a broker; 10 or one and a half sessions unless given.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Protocol of the connections to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        default="PLAIN", description="How the SASL user is authenticated."
    )
    kafka_sasl_username: str | None = Field(default=None, description="User name for SASL.")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="Password for SASL.")
    kafka_sasl_password_file: Path | None = Field(
        default=None, description="A file that holds the SASL password instead."
    )
    kafka_sasl_oauth_token_file: Path | None = Field(
        default=None, description="A file that holds the token for OAUTHBEARER; read anew for each connection."
    )
    kafka_sasl_oauth_token_command: str | None = Field(
        default=None, description="A command that prints the token for OAUTHBEARER; run, without a shell, for each one."
    )
    kafka_sasl_oauth_msk_region: str | None = Field(
        default=None,
        description="AWS region of an MSK cluster: tokens for OAUTHBEARER are signed with the AWS credentials of the "
        "process (pip install 'webhook-router[msk-iam]').",
    )
    kafka_ssl_cafile: Path | None = Field(
        default=None, description="PEM file of the authorities to trust; the system's unless given."
    )
    kafka_ssl_certfile: Path | None = Field(
        default=None, description="PEM file of a client certificate, for brokers that want one."
    )
    kafka_ssl_keyfile: Path | None = Field(
        default=None, description="PEM file of the client certificate's key, if it is not in the same file."
    )
    kafka_ssl_key_password: SecretStr | None = Field(default=None, description="Password of that key, if it has one.")
    kafka_ssl_key_password_file: Path | None = Field(default=None, description="A file that holds it instead.")

    def kafka_connection(self) -> KafkaConnection:
        """How to reach Kafka.

        Raises:
            Misconfigured: something is missing, or does not go together.
        """
        if not self.kafka_bootstrap_servers:
            raise Misconfigured(
                f"no Kafka given: set {SETTING}BOOTSTRAP_SERVERS (or --kafka-bootstrap-servers), "
                "e.g. broker-1:9092,broker-2:9092"
            )
        if wrong := [s for s in self.kafka_bootstrap_servers.split(",") if not SERVER.fullmatch(s.strip())]:
            raise Misconfigured(f"{SETTING}BOOTSTRAP_SERVERS: {wrong[0]!r} is not host:port")
        password = self._kafka_secret("sasl_password", "the password")
        self._check_sasl(password)
        self._check_tls()
        return KafkaConnection(
            bootstrap_servers=self.kafka_bootstrap_servers,
            client_id=self.kafka_client_id,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=password,
            oauth=OAuth(
                token_file=self.kafka_sasl_oauth_token_file,
                token_command=self._token_command(),
                msk_region=self.kafka_sasl_oauth_msk_region,
            ),
            ssl_cafile=self.kafka_ssl_cafile,
            ssl_certfile=self.kafka_ssl_certfile,
            ssl_keyfile=self.kafka_ssl_keyfile,
            ssl_key_password=self._kafka_secret("ssl_key_password", "the password of the key"),
            request_timeout=self.kafka_request_timeout,
        )

    def kafka_topic(self) -> str:
        """The topic that is written to unless another is named.

        Raises:
            Misconfigured: topics are read by a pattern, which names none.
        """
        if self.kafka_topics_pattern is not None:
            raise Misconfigured(f"{SETTING}TOPICS_PATTERN names no topic to write to: give one by --topic")
        return self._topics()[0]

    def _kafka_options(self, *, sample_interval: float, stall_after: float) -> KafkaOptions:
        """Raises Misconfigured."""
        self._check_times()
        start = _start(self.kafka_start)
        return KafkaOptions(
            topics=self._topics(),
            topics_pattern=self.kafka_topics_pattern,
            group_id=self.kafka_group_id,
            group_instance_id=self._instance(),
            client_rack=self.kafka_client_rack,
            dead_letter_topic=self.kafka_dead_letter_topic,
            start=start,
            largest_record=self.kafka_max_record_bytes,
            unavailable_value=self.kafka_unavailable_value,
            session_timeout=self.kafka_session_timeout,
            max_poll_interval=self.kafka_max_poll_interval,
            fetch_max_bytes=self.kafka_fetch_max_bytes,
            fetch_min_bytes=self.kafka_fetch_min_bytes,
            fetch_max_wait=self.kafka_fetch_max_wait,
            max_partition_fetch_bytes=self.kafka_max_partition_fetch_bytes,
            sample_interval=sample_interval,
            stall_after=stall_after,
        )

    def _topics(self) -> tuple[str, ...]:
        topics = tuple(dict.fromkeys(topic.strip() for topic in self.kafka_topics.split(",")))
        if self.kafka_topics_pattern is not None:
            if "kafka_topics" in self.model_fields_set:
                raise Misconfigured(f"{SETTING}TOPICS and {SETTING}TOPICS_PATTERN are both set; keep one of them")
            try:
                re.compile(self.kafka_topics_pattern)
            except re.error as error:
                raise Misconfigured(f"{SETTING}TOPICS_PATTERN is not a regular expression: {error}") from None
            topics = ()
        for topic in topics:
            check_topic(topic, f"{SETTING}TOPICS")
        check_topic(self.kafka_dead_letter_topic, f"{SETTING}DEAD_LETTER_TOPIC")
        if self.kafka_dead_letter_topic in topics:
            raise Misconfigured(
                f"{SETTING}DEAD_LETTER_TOPIC is one of the topics that are read: dead letters would be read again"
            )
        return topics

    def _instance(self) -> str | None:
        name = self.kafka_group_instance_id
        if name is not None and (not TOPIC.fullmatch(name) or name in {".", ".."}):
            raise Misconfigured(
                f"{SETTING}GROUP_INSTANCE_ID: {name!r} is not a name of 1 to 249 letters, digits, dots, _ and -"
            )
        return name

    def _check_times(self) -> None:
        session, request = self.kafka_session_timeout, self.kafka_request_timeout
        if session > self.kafka_max_poll_interval:
            raise Misconfigured(f"{SETTING}SESSION_TIMEOUT must not be longer than {SETTING}MAX_POLL_INTERVAL")
        if self.kafka_poll_timeout >= self.kafka_max_poll_interval:
            raise Misconfigured(f"{SETTING}POLL_TIMEOUT must be shorter than {SETTING}MAX_POLL_INTERVAL")
        if request is not None and request <= session:
            raise Misconfigured(
                f"{SETTING}REQUEST_TIMEOUT must be longer than {SETTING}SESSION_TIMEOUT: joining the group may take as "
                "long as a session"
            )
        if self.kafka_fetch_max_wait >= (request or max(REQUEST_TIMEOUT, session * 1.5)):
            raise Misconfigured(f"{SETTING}FETCH_MAX_WAIT must be shorter than {SETTING}REQUEST_TIMEOUT")
        if self.kafka_fetch_min_bytes > self.kafka_fetch_max_bytes:
            raise Misconfigured(f"{SETTING}FETCH_MIN_BYTES must not be more than {SETTING}FETCH_MAX_BYTES")

    def _check_sasl(self, password: str | None) -> None:
        by_token = {
            f"{SETTING}SASL_OAUTH_TOKEN_FILE": self.kafka_sasl_oauth_token_file,
            f"{SETTING}SASL_OAUTH_TOKEN_COMMAND": self.kafka_sasl_oauth_token_command,
            f"{SETTING}SASL_OAUTH_MSK_REGION": self.kafka_sasl_oauth_msk_region,
        }
        tokens = [name for name, value in by_token.items() if value is not None]
        with_sasl = f"{SETTING}SECURITY_PROTOCOL must be SASL_SSL or SASL_PLAINTEXT"
        if not self.kafka_security_protocol.startswith("SASL"):
            if password is not None or self.kafka_sasl_username:
                raise Misconfigured(f"a SASL user is set; {with_sasl}")
            if tokens:
                raise Misconfigured(f"{tokens[0]} is set; {with_sasl}")
        elif self.kafka_sasl_mechanism == "OAUTHBEARER":
            if len(tokens) != 1:
                raise Misconfigured(f"OAUTHBEARER needs one of {', '.join(by_token)}")
        elif tokens:
            raise Misconfigured(f"{tokens[0]} is set; {SETTING}SASL_MECHANISM must be OAUTHBEARER")
        elif password is None or not self.kafka_sasl_username:
            raise Misconfigured(f"{self.kafka_security_protocol} needs {SETTING}SASL_USERNAME and …_PASSWORD(_FILE)")
        elif not password:
            raise Misconfigured(f"the SASL password is empty: check {SETTING}SASL_PASSWORD(_FILE)")

    def _check_tls(self) -> None:
        ours = {
            f"{SETTING}SSL_CERTFILE": self.kafka_ssl_certfile,
            f"{SETTING}SSL_KEYFILE": self.kafka_ssl_keyfile,
            f"{SETTING}SSL_KEY_PASSWORD": self.kafka_ssl_key_password,
            f"{SETTING}SSL_KEY_PASSWORD_FILE": self.kafka_ssl_key_password_file,
        }
        given = [name for name, value in ours.items() if value is not None]
        if given and not self.kafka_security_protocol.endswith("SSL"):
            raise Misconfigured(f"{given[0]} is set; {SETTING}SECURITY_PROTOCOL must be SSL or SASL_SSL")
        if given and self.kafka_ssl_certfile is None:
            raise Misconfigured(f"{given[0]} is set, but no certificate: set {SETTING}SSL_CERTFILE too")

    def _token_command(self) -> tuple[str, ...] | None:
        if self.kafka_sasl_oauth_token_command is None:
            return None
        name = f"{SETTING}SASL_OAUTH_TOKEN_COMMAND"
        try:
            words = tuple(shlex.split(self.kafka_sasl_oauth_token_command))
        except ValueError as error:
            raise Misconfigured(f"{name} cannot be taken apart as a shell would: {error}") from None
        if not words:
            raise Misconfigured(f"{name} is empty")
        return words

    def _kafka_secret(self, name: str, what: str) -> str | None:
        """A secret setting, or what stands in its file."""
        given: SecretStr | None = getattr(self, f"kafka_{name}")
        file: Path | None = getattr(self, f"kafka_{name}_file")
        variable = SETTING + name.upper()
        if given is not None and file is not None:
            raise Misconfigured(f"{variable} and {variable}_FILE are both set; keep one of them")
        if file is not None:
            return read_secret(file, what=f"{what} ({variable}_FILE)")
        return given.get_secret_value() if given is not None else None
