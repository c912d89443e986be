"""One table's rows and changes, as Debezium writes them in each of its forms.

`python -m tests.kafka.debezium.changes` writes the records into tests/unit/records/debezium.ndjson, for tests that
need no servers.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from consumer.adapters.postgres.migrations import migrator
from tests.kafka import broker
from tests.kafka.debezium import worker
from tests.kafka.debezium.worker import Worker
from tests.kafka.topics import Topics
from tests.servers import TEST_SETTINGS, Server, newest_binaries
from tests.waiting import await_for, wait_for

RECORDS = Path(__file__).parents[2] / "unit" / "records" / "debezium.ndjson"
OWN_PLACEHOLDER = "(not here)"
COMPRESSIONS = ("gzip", "snappy", "lz4", "zstd")
"""Of Java's own producer, which frames some of them in its own way; the forms take turns."""

_JSON = "org.apache.kafka.connect.json.JsonConverter"
_CLOUD_EVENTS = "io.debezium.converters.CloudEventsConverter"
_PLAIN = {"value.converter": _JSON, "value.converter.schemas.enable": "false"}
_SCHEMAS = {"value.converter": _JSON, "value.converter.schemas.enable": "true"}
_NOISE = {"heartbeat.interval.ms": "500", "provide.transaction.metadata": "true", "skipped.operations": "none"}
_FLATTENED = {
    "transforms": "flat,route",
    "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
    "transforms.flat.delete.tombstone.handling.mode": "rewrite",
}
_OUTBOX = {
    "table.include.list": "public.outbox",
    "transforms": "outbox,route",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
}

FORMS: Mapping[str, dict[str, str]] = {
    "json": _PLAIN | _NOISE,
    "json with schemas": _SCHEMAS | _NOISE,
    "cloud events": _NOISE | {"value.converter": _CLOUD_EVENTS, "value.converter.json.schemas.enable": "false"},
    "cloud events with schemas": {"value.converter": _CLOUD_EVENTS, "value.converter.json.schemas.enable": "true"},
    "cloud events without attributes": {
        "value.converter": _CLOUD_EVENTS,
        "value.converter.json.schemas.enable": "false",
        "value.converter.extension.attributes.enable": "false",
    },
    "flattened": _PLAIN | _NOISE | _FLATTENED | {"transforms.flat.add.fields": "op,table,lsn,source.ts_ms"},
    "flattened with schemas": _SCHEMAS | _FLATTENED | {"transforms.flat.add.fields": "op"},
    "flattened by default": _PLAIN | _FLATTENED | {"transforms.flat.delete.tombstone.handling.mode": "tombstone"},
    "flattened without prefix": _PLAIN
    | _FLATTENED
    | {"transforms.flat.add.fields": "op", "transforms.flat.add.fields.prefix": ""},
    "own placeholder": _PLAIN | {"unavailable.value.placeholder": OWN_PLACEHOLDER},
    "outbox": _PLAIN | _NOISE | _OUTBOX | {"skipped.operations": "t"},  # of which the transformation makes an error
    "outbox with schemas": _SCHEMAS | _OUTBOX,
    "outbox as text": _OUTBOX
    | {"value.converter": "org.apache.kafka.connect.storage.StringConverter", "message.prefix.exclude.list": "prefix"},
}
"""Properties of a connector, by what is special about its records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of webhook_events as SQL, and whether the schema of events has it as well."""

    event_id: str
    event_date: str = "'2026-01-31 09:30:00.123456+02'"
    payload: str = "'{}'"
    author_id: str = "'a_1'"
    fits: bool = True


LONG = "l" * 600
_TOAST = "(select string_agg(md5(i::text), '') from generate_series(1, 128) i)"
ROWS = (
    Row(
        event_id="full",
        payload="""'{"n": 1.10, "big": 184467440737095516161234, "text": "a\\nb \\u00e4 \\"", "zero": [1E-7, -0.0]}'""",
    ),
    Row(event_id="toast", payload=f"jsonb_build_object('x', {_TOAST}, 'y', '__debezium_unavailable_value')"),
    Row(event_id="infinity", event_date="'infinity'", fits=False),
    Row(event_id="-infinity", event_date="'-infinity'", fits=False),
    Row(event_id="year 20000", event_date="'20000-01-01'", fits=False),
    Row(event_id="bc", event_date="'0044-03-15 BC'", fits=False),
    Row(event_id="array", payload="'[1, {\"n\": 1.10}]'", fits=False),
    Row(event_id="string", payload="'\"text\"'", fits=False),
    Row(event_id="number", payload="'1.10'", fits=False),
    Row(event_id="boolean", payload="'true'", fits=False),
    Row(event_id="", fits=False),
    Row(event_id=LONG, author_id=f"'{LONG}'", fits=False),
    Row(event_id="range", payload="""'{"n": 1e400, "m": -1e400, "k": 1e-400}'""", fits=False),
    Row(event_id="deep", payload="(repeat('[', 1100) || repeat(']', 1100))::jsonb", fits=False),
    Row(event_id="deleted"),
)
"""Inserted one by one."""
OLD = "old"
"""A row from before: only an update of it is written, without the large values that it left alone."""
LAST = "last"
PARKED = {"infinity", "-infinity"}
"""Whose date no message can have."""
OUTBOX_PAYLOAD = '{"n": 1.10, "big": 184467440737095516161234}'

_TABLES = b"""
create table outbox (
    id uuid primary key default gen_random_uuid(), aggregatetype text not null, aggregateid text not null,
    type text not null, payload text
)
"""
_OLD = f"""
insert into webhook_events (channel, type, event_id, content, raw_payload)
values ('instagram', 'message', '{OLD}', {_TOAST}, jsonb_build_object('x', {_TOAST}))
"""
_AFTERWARDS = (
    f"update webhook_events set author_name = 'New' where event_id in ('toast', '{OLD}')",
    "update webhook_events set routed_at = now() where event_id = 'full'",
    "update webhook_events set parked_until = now() where event_id = 'bc'",
    "delete from webhook_events where event_id = 'deleted'",
    "delete from outbox",
    "select pg_logical_emit_message(true, 'prefix', 'content')",
    "select pg_logical_emit_message(false, 'prefix', 'content')",
    "truncate webhook_events cascade",
    "truncate outbox",
    f"insert into webhook_events (channel, type, event_id, author_id) values ('telegram', 'message', '{LAST}', 'b')",
    f"""insert into outbox (aggregatetype, aggregateid, type, payload)
        values ('message', 'a_1', 'created', '{{"channel": "telegram", "event_id": "{LAST}", "author_id": "b"}}')""",
)
COLUMNS = "channel, type, event_id, author_id, author_name, content, event_date::text, post_id, raw_payload::text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a source database has gone through, and the topic with the records of each form."""

    topics: Mapping[str, str]
    rows: list[tuple[Any, ...]]
    """`COLUMNS` of what was in webhook_events after the inserts, by event_id."""
    dump: bytes
    """The same as COPY writes it, all columns."""


@contextlib.contextmanager
def logical_server() -> Iterator[Server]:
    """A Postgres whose changes can be read."""
    settings = TEST_SETTINGS | {"wal_level": "logical", "max_replication_slots": "40", "max_wal_senders": "40"}
    server = Server.start(binaries=newest_binaries(), settings=settings)
    try:
        yield server
    finally:
        server.stop("immediate")


def connection_of(dsn: str) -> dict[str, str]:
    """A connector's properties that say where the database is."""
    parts = conninfo_to_dict(dsn)
    names = {"hostname": "host", "port": "port", "user": "user", "password": "password", "dbname": "dbname"}
    return {f"database.{name}": str(parts[part]) for name, part in names.items()}


def until_streaming(connection: psycopg.Connection, count: int) -> None:
    """Waits until so many connectors read the changes of this database."""
    active = b"select count(*) from pg_replication_slots where active and database = current_database()"
    wait_for(lambda: connection.execute(active).fetchone() == (count,), what=f"{count} connectors")


def made(dsn: str, connect: Worker, bootstrap: str, *, prefix: str = "") -> Changes:
    """Goes through everything, and waits until all of it is in the topics.

    Args:
        dsn: of a database with the schema, on a `logical_server`.
        connect: runs a connector for each form, until everything is read.
        bootstrap: of the brokers.
        prefix: of the topics.
    """
    topics = {form: f"{prefix}{form.replace(' ', '-')}" for form in FORMS}
    names = {form: form.replace(" ", "_") for form in FORMS}
    brokers = Topics(bootstrap)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(_TABLES)
        db.execute(_OLD.encode())
        for (form, own), compression in zip(FORMS.items(), itertools.cycle(COMPRESSIONS)):
            asyncio.run(brokers.create(topics[form], partitions=1))
            compressed = {"producer.override.compression.type": compression}
            connect.start(names[form], _common(dsn, names[form], topics[form]) | own | compressed)
        for name in names.values():
            connect.until_running(name)
        until_streaming(db, len(FORMS))
        rows, dump = _go_through(db)
    for form in FORMS:
        asyncio.run(_until_last(connect, names[form], brokers, topics[form]))
        connect.delete(names[form])
    return Changes(topics=topics, rows=rows, dump=dump)


def _common(dsn: str, name: str, topic: str) -> dict[str, str]:
    return connection_of(dsn) | {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "topic.prefix": name,
        "slot.name": name,
        "slot.drop.on.stop": "true",
        "publication.name": name,
        "publication.autocreate.mode": "filtered",
        "snapshot.mode": "no_data",
        "table.include.list": "public.webhook_events",
        "message.key.columns": "public.webhook_events:channel,author_id",
        "key.converter": _JSON,
        "key.converter.schemas.enable": "false",
        "poll.interval.ms": "50",
        # Heartbeats and transactions as well, which have topics of their own otherwise.
        "transforms": "route",
        "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.route.regex": ".*",
        "transforms.route.replacement": topic,
    }


def _go_through(db: psycopg.Connection) -> tuple[list[tuple[Any, ...]], bytes]:
    for row in ROWS:
        db.execute(
            f"""insert into webhook_events
                    (channel, type, event_id, author_id, author_name, content, event_date, raw_payload)
                values ('instagram', 'message', '{row.event_id}', {row.author_id}, 'Ana "Ü" \U0001f600',
                        E'Hello\\n\\t\\u2028', {row.event_date}, {row.payload})""".encode()
        )
    db.execute(
        f"""insert into outbox (aggregatetype, aggregateid, type, payload)
            values ('message', 'a_1', 'created', '{{"channel": "instagram", "event_id": "outbox", "author_id": "a_1",
                    "raw_payload": {OUTBOX_PAYLOAD}}}')""".encode()
    )
    rows = db.execute(f"select {COLUMNS} from webhook_events order by event_id".encode()).fetchall()
    with db.cursor().copy(b"copy webhook_events to stdout") as copy:
        dump = b"".join(bytes(block) for block in copy)
    for change in _AFTERWARDS:
        db.execute(change.encode())
    return rows, dump


async def _until_last(connect: Worker, name: str, topics: Topics, topic: str) -> None:
    async def there() -> bool:
        connect.until_running(name)
        return any(
            f'"{LAST}'.encode() in (record.value or b"").replace(b"\\", b"") for record in await topics.read(topic)
        )

    await await_for(there, what=f"the last record of {topic}")


def main() -> None:
    """Writes the records of all forms, those that nothing is in but the time once."""
    with broker.running() as cluster, logical_server() as server, worker.running(cluster.bootstrap) as connect:
        migrator.migrate(server.dsn())
        changes = made(server.dsn(), connect, cluster.bootstrap)
        lines = []
        for form, topic in changes.topics.items():
            seen: set[object] = set()
            for record in asyncio.run(Topics(cluster.bootstrap).read(topic)):
                if (kind := _kind(form, record.value)) not in seen:
                    seen.add(kind)
                    lines.append({"form": form, "key": _text(record.key), "value": _text(record.value)})
    RECORDS.parent.mkdir(exist_ok=True)
    RECORDS.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _kind(form: str, value: bytes | None) -> object:
    """Of records for which this is the same, the first one is enough: schemas are long, and heartbeats are many."""
    text = (value or b"").replace(b"\\", b"")
    if b'"event_id":' not in text:
        return len(text) // 200
    few = ("full", "toast", "infinity", "deleted", OLD, LAST, "outbox")
    is_kept = "schemas" not in form or any(f'"{name}"'.encode() in text for name in few)
    return text if is_kept else ""


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


if __name__ == "__main__":
    main()
