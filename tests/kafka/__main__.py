"""`make kafka`: a broker, a database and the service over Kafka, for trying out; Ctrl-C stops and deletes all of it."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

from consumer.adapters.postgres import migrate
from consumer.adapters.postgres.embedded import EmbeddedPostgres
from tests.kafka import broker
from tests.kafka.topics import Topics

PORT = 9092
TOPIC = "webhook-events"
EVENT = '{"channel":"instagram","event_id":"m_1","author_id":"a_1","author_name":"Ana Souza","content":"Do you ship?"}'
MESSAGES = "select sent_at, channel, direction, content_text from messages order by sent_at desc limit 5"


def main() -> int:
    """Starts everything, says how to use it, and waits for the service's end."""
    try:
        cluster = broker.prepare(port=_port())
    except broker.KafkaUnavailable as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every leader that is not elected yet
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop)
        _say("starting Kafka and a Postgres of its own …")
        cluster.start()
        for topic, partitions in ((TOPIC, 6), (f"{TOPIC}.dead-letters", 1)):
            asyncio.run(Topics(cluster.bootstrap).create(topic, partitions=partitions))
        server = stack.enter_context(EmbeddedPostgres.start())
        migrate.migrate(server.dsn())
        command = os.path.relpath(Path(sys.executable).with_name("webhook-router"))
        _say(
            f"\nKafka: {cluster.bootstrap}   topic: {TOPIC}   Postgres: {server.dsn()}\n\n"
            "In another terminal, an event goes in:\n\n"
            f"  echo '{EVENT}' | {command} produce - --kafka-bootstrap-servers {cluster.bootstrap}\n\n"
            "and a message comes out:\n\n"
            f"  echo '{MESSAGES}' | {command} sql - --database-url {server.dsn()}\n\n"
            "The service's own log follows; Ctrl-C stops everything.\n"
        )
        service = subprocess.Popen(
            [sys.executable, "-m", "consumer", "run", "--source", "kafka", "--http-port", "0"],
            env=os.environ
            | {
                "WEBHOOK_ROUTER_DATABASE_URL": server.dsn(),
                "WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
                "WEBHOOK_ROUTER_KAFKA_TOPICS": TOPIC,
            },
        )
        while True:
            try:
                return service.wait()
            except KeyboardInterrupt:
                continue  # the terminal has told the service as well, which finishes what is under way


def _port() -> int | None:
    """Kafka's usual port, if nobody has it."""
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
    sys.exit(main())
