"""The real Debezium connector between a Postgres and the service, in each form in which it can write."""

import json
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.deploy.test_pages import BLOCK
from tests.deploy.tools import DOCS
from tests.kafka.broker import Cluster, KafkaUnavailable
from tests.kafka.conftest import unavailable
from tests.kafka.debezium import changes, worker
from tests.kafka.debezium.changes import FORMS, LAST, OWN_PLACEHOLDER, PARKED, ROWS, Changes, made, until_streaming
from tests.kafka.debezium.worker import Worker
from tests.kafka.inbox import assert_one_message_each
from tests.kafka.scene import Scene, kafka_env
from tests.kafka.topics import Topics, unique
from tests.processes import Router, running
from tests.servers import empty_database_on
from tests.waiting import wait_for

OUTBOX = [form for form in FORMS if form.startswith("outbox")]
TABLE = [form for form in FORMS if form not in OUTBOX]


@pytest.fixture(scope="module")
def source() -> Iterator[EmbeddedPostgres]:
    """A server whose changes can be read."""
    with changes.logical_server() as server:
        yield server


@pytest.fixture(scope="module")
def connect(kafka: Cluster) -> Iterator[Worker]:
    """A worker of Kafka Connect with Debezium's connector."""
    try:
        with worker.running(kafka.bootstrap) as started:
            yield started
    except KafkaUnavailable as missing:
        unavailable(missing)


@pytest.fixture(scope="module")
def written(kafka: Cluster, connect: Worker, source: EmbeddedPostgres) -> Iterator[Changes]:
    """The same changes in each form."""
    with empty_database_on(source) as dsn:
        migrator.migrate(dsn)
        yield made(dsn, connect, kafka.bootstrap, prefix=unique("debezium") + "-")


async def scene_of(form: str, written: Changes, kafka: Cluster) -> tuple[Scene, int]:
    """The topic of a form, and how many records are in it."""
    topic = written.topics[form]
    scene = Scene(topics=Topics(kafka.bootstrap), topic=topic, dead=f"{topic}.{unique('dead')}")
    return scene, sum((await scene.topics.ends(topic)).values())


def settings_of(form: str) -> dict[str, str]:
    """What the service must be told about a connector."""
    return {"WEBHOOK_ROUTER_KAFKA_UNAVAILABLE_VALUE": OWN_PLACEHOLDER} if form == "own placeholder" else {}


def skipped(router: Router, reason: str) -> float:
    """How many records were skipped."""
    return router.metric("webhook_router_kafka_records_skipped_total", reason=reason)


@pytest.mark.parametrize("form", TABLE)
async def test_rows_are_stored_elsewhere(
    form: str, written: Changes, kafka: Cluster, database: str, db: psycopg.Connection
) -> None:
    """What the schema has is stored exactly and routed; what it has not is set aside with the schema's reason."""
    scene, ends = await scene_of(form, written, kafka)
    with running(database, env=scene.env | settings_of(form)) as router:
        await scene.until_committed(ends, timeout=30)
        assert skipped(router, "delete") >= (0 if form == "flattened by default" else 1)
        if "heartbeat.interval.ms" in FORMS[form] and "cloud" not in form:
            assert skipped(router, "heartbeat") > 0
            assert skipped(router, "transaction") > len(ROWS)
    fitting = {row.event_id for row in ROWS if row.fits}
    query = f"select {changes.COLUMNS} from webhook_events where event_id <> '{LAST}' order by event_id".encode()
    assert db.execute(query).fetchall() == [row for row in written.rows if row[2] in fitting]
    assert_one_message_each(db, len(fitting) + 1)
    dead = await scene.topics.read(scene.dead)
    errors = Counter(dict(record.headers)["webhook-router-error"].decode() for record in dead)
    # Neither the old row is there nor one that does not fit, of which there is an update as well.
    assert errors == {"not_an_event": len(ROWS) - len(fitting), "not_found": 1}, [record.headers for record in dead]


@pytest.mark.parametrize("form", ["json", "cloud events", "flattened by default"])
async def test_rows_that_are_there_are_routed(
    form: str, written: Changes, kafka: Cluster, database: str, db: psycopg.Connection
) -> None:
    """All of them, whatever the schema says; but for those that the table's own rule parks."""
    scene, ends = await scene_of(form, written, kafka)
    with db.cursor().copy(b"copy webhook_events from stdin") as copy:
        copy.write(written.dump)
    with running(database, env=scene.env) as router:
        await scene.until_committed(ends, timeout=30)
        assert router.metric("webhook_router_kafka_dead_letters_total") == 0, router.logged("record set aside")
    parked = db.execute("select event_id from webhook_events where routed_at is null").fetchall()
    assert {name for (name,) in parked} == PARKED
    query = f"select {changes.COLUMNS} from webhook_events where event_id <> '{LAST}' order by event_id".encode()
    assert db.execute(query).fetchall() == written.rows


@pytest.mark.parametrize("form", OUTBOX)
async def test_an_outbox_is_stored(
    form: str, written: Changes, kafka: Cluster, database: str, db: psycopg.Connection
) -> None:
    """Events that an application has written into a table of its own, as text."""
    scene, ends = await scene_of(form, written, kafka)
    with running(database, env=scene.env) as router:
        await scene.until_committed(ends, timeout=30)
        assert router.metric("webhook_router_kafka_dead_letters_total") == 0, router.logged("record set aside")
    assert_one_message_each(db, 2)
    found = db.execute(
        "select raw_payload = %s::jsonb, raw_payload::text from webhook_events where event_id = 'outbox'",
        [changes.OUTBOX_PAYLOAD],
    ).fetchone()
    assert found is not None
    assert found[0] is True
    assert "1.10" in found[1]


async def test_the_connector_of_the_page(kafka: Cluster, connect: Worker, source: EmbeddedPostgres) -> None:
    """With the rights and the properties that the page gives, beside connectors that write our own marks as well."""
    topics = {name: unique(name) for name in ("page", "marks", "untold")}
    brokers = Topics(kafka.bootstrap)
    for topic in topics.values():
        await brokers.create(topic)
    with empty_database_on(source) as dsn, psycopg.connect(dsn, autocommit=True) as db:
        migrator.migrate(dsn)
        db.execute("\n".join(blocks("sql")).encode())
        db.execute("alter role debezium password 'of-the-test'")
        (connect.folder / "debezium.properties").write_text("password=of-the-test\n")
        connectors = {
            "page": page(dsn, connect),
            "marks": page(dsn, connect) | careless(dsn, "marks"),
            "untold": page(dsn, connect) | careless(dsn, "untold") | FORMS["flattened by default"],
        }
        for name, config in connectors.items():
            connect.start(name, config | {"transforms.route.replacement": topics[name]})
        for name in connectors:
            connect.until_running(name)
        until_streaming(db, 3)
        group = unique("group")
        env = kafka_env(kafka.bootstrap, ",".join(topics.values()), f"{topics['page']}.dead", group)
        with running(dsn, env=env) as router:
            router.until_ready()
            db.execute(
                """insert into webhook_events (channel, type, event_id, author_id, content, event_date)
                   select 'whatsapp', 'message', 'e' || i, 'a', 'Hello', case i when 0 then 'infinity' else now() end
                   from generate_series(0, 20) i"""
            )
            # Each has its mark: 20 are routed, one is parked, and "untold" shows only the latter to be one.
            wait_for(lambda: skipped(router, "nothing_to_route") >= 22, timeout=30, what=f"our marks, {router.lines}")
            wait_for(lambda: skipped(router, "heartbeat") > 0, timeout=30, what=f"a heartbeat, {router.lines}")
            assert router.metric("webhook_router_kafka_dead_letters_total") == 0
        for name in connectors:
            connect.delete(name)
        idle = b"select not exists (select from pg_replication_slots where active)"
        wait_for(lambda: db.execute(idle).fetchone() == (True,), timeout=30, what="the connectors' end")
        # The parked one may have been tried once for each of its inserts, but not for its marks.
        assert 42 <= sum((await brokers.ends(topics["untold"])).values()) <= 44
        assert db.execute("select attempts <= 3 from router.parked_events").fetchall() == [(True,)]
        assert db.execute("select count(*) from messages").fetchone() == (20,)
        db.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
        db.execute("drop owned by debezium; drop role debezium")


def blocks(kind: str) -> list[str]:
    """What the page has in blocks of a kind."""
    found = BLOCK.finditer((DOCS / "debezium.md").read_text(encoding="utf-8"))
    return [block["text"] for block in found if block["kind"] == kind]


def page(dsn: str, connect: Worker) -> dict[str, str]:
    """The properties on the page, for servers of the test."""
    (text,) = blocks("json")
    config: dict[str, str] = json.loads(text)["config"]
    where = changes.connection_of(dsn)
    return config | {
        **{f"database.{name}": where[f"database.{name}"] for name in ("hostname", "port", "dbname")},
        "database.password": config["database.password"].replace("/etc/kafka-connect", str(connect.folder)),
        "heartbeat.interval.ms": "500",
    }


def careless(dsn: str, name: str) -> dict[str, str]:
    """What others write in its place: as a superuser, with a publication of all changes."""
    names = {"topic.prefix": name, "slot.name": name, "publication.name": name}
    quiet = {"heartbeat.interval.ms": "0"}
    return changes.connection_of(dsn) | names | quiet | {"publication.autocreate.mode": "filtered"}
