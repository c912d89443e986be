"""`make kafka`: a broker, a database and the service over Kafka, for trying out; Ctrl-C stops and deletes all of it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from consumer import config
from consumer.adapters.postgres.migrations import migrator
from consumer.cli.run import serve
from consumer.domain.errors import ConsumerError
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.kafka import broker
from tests.kafka.topics import Topics

PORT = 9092
TOPIC = "webhook-events"
EVENT = '{"channel":"instagram","event_id":"m_1","author_id":"a_1","author_name":"Ana Souza","content":"Do you ship?"}'
MESSAGES = "select sent_at, channel, content_text from messages"
URL = broker.CACHE / "database-url"
"""Where the lines to type find the database, whose password is new each time."""


def main() -> int:
    """Starts everything, says how to use it, and runs the service until it is told to stop."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # until the service handles them; a shell may have us ignore one
        signal.signal(number, signal.default_int_handler)
    _say("starting Kafka (fetched with Maven the first time) and a Postgres of its own …")
    try:
        cluster = broker.prepare(port=_port())
    except broker.KafkaUnavailable as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it reports every leader that is not elected yet
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start()
        for topic, partitions in ((TOPIC, 6), (f"{TOPIC}.dead-letters", 1)):
            asyncio.run(Topics(cluster.bootstrap).create(topic, partitions=partitions))
        server = stack.enter_context(EmbeddedPostgres.start())
        migrator.migrate(server.dsn())
        stack.callback(URL.unlink, missing_ok=True)
        URL.touch(mode=0o600)
        URL.write_text(server.dsn())
        command = os.path.relpath(Path(sys.executable).with_name("webhook-router"))
        _say(
            f"\nKafka: {cluster.bootstrap}   topic: {TOPIC}   Postgres: see {os.path.relpath(URL)}\n\n"
            "In another terminal, an event goes in:\n\n"
            f"echo '{EVENT}' |\n    {command} produce - --kafka-bootstrap-servers {cluster.bootstrap}\n\n"
            "and a message comes out:\n\n"
            f"echo '{MESSAGES}' |\n    {config.PREFIX}DATABASE_URL_FILE={os.path.relpath(URL)} {command} sql -\n\n"
            "The service's own log follows; Ctrl-C stops everything.\n"
        )
        # In this process, so that nothing is left behind however it ends. It returns when it was told to stop.
        settings = config.load(
            source="kafka",
            database_url=server.dsn(),
            http_port=0,
            kafka_bootstrap_servers=cluster.bootstrap,
            kafka_topics=TOPIC,
        )
        serve(settings)
    return 0


def _port() -> int | None:
    """Kafka's usual port, if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return None
        return PORT


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped before the service was running")
    except ConsumerError as error:
        sys.exit(str(error))
