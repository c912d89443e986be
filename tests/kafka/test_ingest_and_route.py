"""One poll, one call: what the database does with records, without Kafka."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import psycopg
import pytest
import pytest_asyncio

from consumer.adapters.kafka.decoding import codec
from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.domain.errors import TooSlow, Transient
from consumer.domain.forms import interpret
from consumer.domain.records import IntakeOutcome
from consumer.domain.webhook import Intake
from tests.kafka.topics import event
from tests.waiting import wait_for


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[PostgresRecordStore]:
    """The store under test."""
    made = PostgresRecordStore(database, group="g", call_timeout=30)
    yield made
    await made.close()


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A session of the application."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def told(document: dict[str, Any], *, keep: bool = False) -> Intake:
    """A record that holds an event."""
    line = orjson.dumps(document).decode()
    return Intake(channel=document["channel"], event_id=document["event_id"], line=line, keep=keep)


def named(event_id: str, channel: str = "instagram") -> Intake:
    """A record that names one."""
    return Intake(channel=channel, event_id=event_id, line=None)


def refused(outcome: IntakeOutcome) -> list[tuple[int, str]]:
    """Place and SQLSTATE."""
    return [(refusal.place, refusal.code) for refusal in outcome.refusals]


def column(db: psycopg.Connection, query: str) -> list[Any]:
    """The first column of a query's rows."""
    return [row[0] for row in db.execute(query.encode()).fetchall()]


async def test_events_are_stored_and_routed(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """One call: rows in webhook_events, routed, each with its message."""
    outcome = await store.ingest_and_route([told(event(number)) for number in range(100)])
    assert (outcome.batch.claimed, outcome.batch.inserted, outcome.batch.parked, refused(outcome)) == (100, 100, 0, [])
    assert outcome.batch.channels == ("instagram",) * 100
    assert column(
        db, "select count(*) from messages m join webhook_events w on w.event_id = m.provider_message_id"
    ) == [100]
    assert column(db, "select count(*) from webhook_events where routed_at is null") == [0]


async def test_again_is_nothing_new(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """Whatever comes twice, in one call or in two, is done once."""
    intakes = [told(event(number % 10)) for number in range(30)]
    assert (await store.ingest_and_route(intakes)).batch.claimed == 10
    assert (await store.ingest_and_route(intakes)).batch.claimed == 0
    assert column(db, "select count(*) from messages") == [10]


async def test_nothing_is_nothing(store: PostgresRecordStore) -> None:
    """An empty call is harmless."""
    assert (await store.ingest_and_route([])).batch.claimed == 0


async def test_a_name_routes_what_is_in_the_table(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """In any spelling of the channel; one that is not there is reported, each time it is named."""
    db.execute(
        "insert into webhook_events (channel, type, event_id, author_id) values ('instagram', 'message', 'x', 'a')"
    )
    outcome = await store.ingest_and_route([named("y"), named("x", " Instagram "), named("y"), told(event(1))])
    assert refused(outcome) == [(0, "P0002"), (2, "P0002")]
    assert outcome.batch.claimed == 2
    assert refused(await store.ingest_and_route([named("x")])) == []


async def test_a_name_finds_the_event_of_the_same_call(store: PostgresRecordStore) -> None:
    """Whichever of the two comes first."""
    outcome = await store.ingest_and_route([named("e1"), told(event(1))])
    assert (outcome.batch.claimed, refused(outcome)) == (1, [])


async def test_a_change_record_never_overwrites_the_row(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """The log is replayed after a rebalance; the row may have been corrected meanwhile."""
    await store.ingest_and_route([told(event(1), keep=True)])
    db.execute("update webhook_events set content = 'corrected'")
    outcome = await store.ingest_and_route([told(event(1), keep=True), told(event(2), keep=True), named("none")])
    assert (outcome.batch.claimed, refused(outcome)) == (1, [(2, "P0002")])
    assert sorted(column(db, "select content from webhook_events")) == ["corrected", "text 2"]


async def test_what_the_database_refuses_is_reported_and_the_rest_is_done(
    store: PostgresRecordStore, db: psycopg.Connection
) -> None:
    """Each culprit with its place and SQLSTATE, in a call of every form."""
    intakes: list[Intake] = [told(event(number)) for number in range(200)]
    intakes[3] = told(event(1000, channel="fax"))
    intakes[50] = told(event(1001, conversation_id="7e1f9a54-1c7a-4f0e-9a43-0d5f3c2b1a00"))
    intakes[51] = named("none")
    intakes[198] = told(event(1002, raw_payload={"text": "\0"}))
    intakes[199] = told(event(1003, event_date="2026-02-30T00:00:00Z"))
    outcome = await store.ingest_and_route(intakes)
    assert sorted(refused(outcome)) == [(3, "23514"), (50, "23503"), (51, "P0002"), (198, "22P05"), (199, "22008")]
    assert outcome.batch.claimed == 195
    assert column(db, "select count(*) from messages") == [195]


async def test_what_cannot_be_routed_is_parked(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """It is in the table, which takes care of it: the record is done with, and a repetition leaves it parked."""
    db.execute("alter table messages add constraint no_bad check (content_text <> 'bad')")
    bad = told(event(1, content="bad"))
    outcome = await store.ingest_and_route([bad, told(event(2))])
    assert (outcome.batch.claimed, outcome.batch.parked, refused(outcome)) == (2, 1, [])
    assert (await store.ingest_and_route([bad])).batch.claimed == 0
    assert column(db, "select attempts from router.parked_events") == [1]
    assert (await store.ingest_and_route([named("e1")])).batch.parked == 1, "whoever names it wants it tried"
    assert column(db, "select attempts from router.parked_events") == [2]


async def test_one_that_takes_too_long_can_be_parked_untried(
    store: PostgresRecordStore, db: psycopg.Connection
) -> None:
    """Stored, and left to the sweep."""
    outcome = await store.ingest_and_park([told(event(1))])
    assert (outcome.batch.claimed, outcome.batch.parked) == (1, 1)
    assert column(db, "select error_code from router.parked_events") == ["57014"]


async def test_it_waits_for_a_batch_that_has_the_event(
    store: PostgresRecordStore, database: str, db: psycopg.Connection
) -> None:
    """An offset stands for what is committed: what another session works on is not done before it commits."""
    db.execute(
        "insert into webhook_events (channel, type, event_id, author_id) values ('instagram', 'message', 'x', 'a')"
    )
    with psycopg.connect(database) as other:
        other.execute("select public.route_unrouted_events()")
        call = asyncio.create_task(store.ingest_and_route([named("x")]))
        blocked = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query like '%take_records%'"
        )
        await asyncio.to_thread(wait_for, lambda: column(db, blocked) == [1], what="the call to wait")
        assert not call.done()
        other.commit()
        assert (await call).batch.claimed == 0
    assert column(db, "select count(*) from messages") == [1]


async def test_it_routes_what_the_other_batch_gave_up(
    store: PostgresRecordStore, database: str, db: psycopg.Connection
) -> None:
    """The session it waited for rolled back."""
    db.execute(
        "insert into webhook_events (channel, type, event_id, author_id) values ('instagram', 'message', 'x', 'a')"
    )
    with psycopg.connect(database) as other:
        other.execute("select public.route_unrouted_events()")
        call = asyncio.create_task(store.ingest_and_route([named("x")]))
        blocked = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query like '%take_records%'"
        )
        await asyncio.to_thread(wait_for, lambda: column(db, blocked) == [1], what="the call to wait")
        other.rollback()
        assert (await call).batch.claimed == 1
    assert column(db, "select count(*) from messages") == [1]


async def test_two_calls_with_the_same_records_do_not_deadlock(database: str, db: psycopg.Connection) -> None:
    """Two members may have one partition for a while: both send the same events, in different orders."""
    stores = [PostgresRecordStore(database, group="g", call_timeout=30) for _ in range(4)]

    async def route(number: int, made: PostgresRecordStore) -> None:
        for begin in range(0, 400, 50):
            intakes = [told(event(n)) for n in range(begin, begin + 80)]
            await made.ingest_and_route(intakes if number % 2 else intakes[::-1])

    try:
        await asyncio.gather(*(route(number, made) for number, made in enumerate(stores)))
    finally:
        for made in stores:
            await made.close()
    assert column(db, "select count(*) from messages") == [430]


async def test_a_broken_trigger_is_nobodys_fault(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """Records are not thrown away for what is wrong with the application's schema: they are tried again."""
    db.execute(
        """create function broken() returns trigger language plpgsql as 'begin perform missing(); return new; end';
           create trigger broken before insert on webhook_events for each row execute function broken()"""
    )
    with pytest.raises(Transient, match=r"no event can be stored: function missing\(\) does not exist"):
        await store.ingest_and_route([told(event(1))])
    db.execute("drop trigger broken on webhook_events")
    assert (await store.ingest_and_route([told(event(1))])).batch.claimed == 1


async def test_a_mandatory_column_is_nobodys_fault(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """Nor are other faults of the schema: the object is named, and no record is refused for them."""
    db.execute("alter table webhook_events add column tenant text not null")
    with pytest.raises(Transient, match=r"no event can be stored: .* \(table public\.webhook_events, column tenant\)"):
        await store.ingest_and_route([told(event(1)), told(event(2))])
    db.execute("alter table webhook_events drop column tenant")
    assert (await store.ingest_and_route([told(event(1))])).batch.claimed == 1


async def test_an_event_that_is_held_is_stored(store: PostgresRecordStore, db: psycopg.Connection) -> None:
    """Its record is dealt with: the sweep routes the row when the schema allows it, however often the record comes."""
    db.execute(
        """create function broken() returns trigger language plpgsql as
           $$begin if new.content_text = 'bad' then perform missing(); end if; return new; end$$;
           create trigger broken before insert on messages for each row execute function broken()"""
    )
    for again in (False, True):
        outcome = await store.ingest_and_route([told(event(1)), told(event(2, content="bad"))])
        assert (outcome.batch.routed, outcome.batch.held, outcome.refusals) == (0 if again else 1, 1, ())
        assert str(outcome.batch.held_reason).startswith("42883: function missing() does not exist")
    assert column(db, "select event_id from webhook_events where routed_at is null") == ["e2"]
    db.execute("drop trigger broken on messages")
    assert column(db, "select public.route_unrouted_events()") == [1]


async def test_a_call_that_takes_too_long_says_so(database: str, db: psycopg.Connection) -> None:
    """Nothing is done then; the same store goes on."""
    quick = PostgresRecordStore(database, group="g", call_timeout=3)
    db.execute(
        """create function slow() returns trigger language plpgsql as
           $$begin perform pg_sleep(60); return new; end$$;
           create trigger slow before insert on messages for each row when (new.content_text = 'slow')
               execute function slow()"""
    )
    try:
        with pytest.raises(TooSlow):
            await quick.ingest_and_route([told(event(1, content="slow"))])
        assert (await quick.ingest_and_route([told(event(2))])).batch.claimed == 1
    finally:
        await quick.close()
    assert column(db, "select event_id from webhook_events") == ["e2"]


async def test_the_service_role_may_call_it_and_nothing_more(database: str, db: psycopg.Connection) -> None:
    """The gate has the owner's rights; its caller has none on the tables."""
    row = db.execute(
        """select p.prosecdef, p.proconfig::text from pg_proc p where p.oid = 'router.ingest_and_route'::regproc"""
    ).fetchone()
    assert row is not None
    assert row[0]
    assert "search_path=pg_catalog, pg_temp" in row[1]
    gate = "router.ingest_and_route(text,text[],text[],boolean[],boolean)"
    assert column(db, f"select has_function_privilege('public', '{gate}', 'execute')") == [False]


ROWS: dict[str, dict[str, str]] = {
    "infinity": {"event_date": "infinity"},
    "minus infinity": {"event_date": "-infinity"},
    "before our era": {"event_date": "0044-03-15 12:00:00 BC"},
    "the year 20000": {"event_date": "20000-01-01T00:00:00Z"},
    "an array": {"raw_payload": '[1, {"a": 2}]'},
    "a text": {"raw_payload": '"text"'},
    "a number": {"raw_payload": "7"},
    "null": {"raw_payload": "null"},
    "a number out of range": {"raw_payload": '{"n": 1e400}'},
    "a deep one": {"raw_payload": '{"a":' * 1100 + "1" + "}" * 1100},
    "an empty id": {"event_id": ""},
    "a long id": {"event_id": "x" * 600},
    "an odd id": {"event_id": "a\n\t\\\"',;{}\u2028\U0001f600 %s $1"},
    "a long author": {"author_id": "a" * 600, "author_name": "n" * 1100},
    "a channel of one's own": {"channel": "fax machine " * 9 + "x"},
}


async def test_a_row_that_the_schema_refuses_is_routed_by_its_change(
    store: PostgresRecordStore, db: psycopg.Connection
) -> None:
    """The table takes more than the schema does; only if the row is not there, the record is refused."""
    db.execute(
        """do $$declare v record; begin
               for v in select conrelid::regclass as owner, conname from pg_constraint
                        where contype = 'c' and pg_get_constraintdef(oid) like '%instagram%'
               loop execute format('alter table %s drop constraint %I', v.owner, v.conname); end loop;
           end$$"""
    )
    names = {}
    for name, but in ROWS.items():
        row = {
            "channel": "instagram",
            "event_id": name,
            "author_id": name,
            "raw_payload": "{}",
            "event_date": None,
        } | but
        names[row["event_id"]] = name
        db.execute(
            """insert into webhook_events (channel, type, event_id, author_id, author_name, event_date, raw_payload)
               values (%(channel)s, 'message', %(event_id)s, %(author_id)s, %(author_name)s, %(event_date)s,
                       %(raw_payload)s)""",
            {"author_name": None} | row,
        )
    read = db.execute(
        """select event_id, jsonb_build_object('before', null, 'op', 'c', 'after',
                      to_jsonb(w) || jsonb_build_object('raw_payload', w.raw_payload::text))::text
           from webhook_events w order by event_id"""
    ).fetchall()
    intakes = {}
    for event_id, record in read:
        meaning, _ = interpret(record.encode(), (), codec(), largest=1_000_000)
        assert isinstance(meaning, Intake), (names[event_id], meaning)
        intakes[names[event_id]] = meaning
    outside = {name for name, intake in intakes.items() if intake.otherwise is not None}
    assert outside == ROWS.keys() - {"null", "an odd id"}
    outcome = await store.ingest_and_route(list(intakes.values()))
    assert (outcome.batch.claimed, refused(outcome)) == (len(ROWS), [])
    parked = {names[name] for name in column(db, "select event_id from webhook_events where routed_at is null")}
    assert parked == {"infinity", "minus infinity"}
    assert column(db, "select count(*) from messages") == [len(ROWS) - len(parked)]
    assert refused(await store.ingest_and_route(list(intakes.values()))) == [], "once more, as after a rebalance"
    db.execute("delete from webhook_events")
    outcome = await store.ingest_and_route(list(intakes.values()))
    assert {list(intakes)[place] for place, _ in refused(outcome)} == outside
    assert {code for _, code in refused(outcome)} == {"P0002"}
