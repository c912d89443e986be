"""Deliveries: what they bring takes effect once, what fails is tried again, and they are kept for some days."""

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.inbox import Inbox, Row

Lines = list[dict[str, Any]]


def line(event_id: str, delivery: int = 0, **columns: Any) -> dict[str, Any]:
    """A message as normalisers hand it over."""
    usual = {
        "delivery": delivery,
        "channel": "whatsapp",
        "type": "message",
        "event_id": event_id,
        "author_id": "33600000001",
        "author_name": None,
        "content": f"text of {event_id}",
        "event_date": "2026-05-01T12:00:00Z",
        "post_id": None,
        "normalized": {"account": "900100"},
    }
    return usual | columns


def status(target: str, delivery: int = 0, **fields: Any) -> dict[str, Any]:
    """That a message of ours was read."""
    usual = {
        "delivery": delivery,
        "kind": "status",
        "id": f"status:{target}:read",
        "channel": "whatsapp",
        "target": target,
        "at": "2026-05-01T12:00:00Z",
        "ord": "",
        "forms": [],
        "content": {"status": "read"},
    }
    return usual | fields


def head(**fields: Any) -> dict[str, Any]:
    """What is told of a delivery itself."""
    return {"provider": "whatsapp", "digest": "00ff", "version": 1, "kinds": {"message": 1}} | fields


def take(
    inbox: Inbox,
    heads: Lines,
    lines: Lines | str = (),  # type: ignore[assignment]
    effects: Lines = (),  # type: ignore[assignment]
    *,
    bodies: list[bytes | None] | None = None,
    store_only: bool = False,
) -> Row:
    """One call."""
    text = lines if isinstance(lines, str) else "\n".join(map(json.dumps, lines))
    return inbox.row(
        "select (batch).inserted, (batch).claimed, effects, refused, codes, reasons "
        "from router.take_deliveries(%s, %s, %s, %s, %s)",
        Jsonb(heads),
        [b"{}"] * len(heads) if bodies is None else bodies,
        text,
        "\n".join(map(json.dumps, effects)),
        store_only,
    )


def deliveries(inbox: Inbox) -> list[Row]:
    """All of them, in the order of their ids."""
    return inbox.rows("select * from router.deliveries order by id")


def make_due(inbox: Inbox) -> None:
    """As if the time of the next attempt had come."""
    inbox.run("update router.deliveries set next_attempt_at = now() where next_attempt_at < 'infinity'")


def claim(inbox: Inbox, limit: int = 20, size: int = 1 << 20) -> list[Row]:
    """Those that are due."""
    return inbox.rows("select * from router.claim_deliveries(%s, %s)", limit, size)


def test_what_a_delivery_brings_takes_effect(any_inbox: Inbox) -> None:
    """Its message is routed, its effect waits for a message that is not there, and the row says what was in it."""
    body = zlib.compress(b"{}")
    told = head(account="bot", compressed=True, kinds={"message": 1, "status": 1}, unknown=True, subjects=[-5, 7])
    done = take(any_inbox, [told], [line("e1")], [status("m9")], bodies=[body])
    assert (done["inserted"], done["claimed"], done["refused"]) == (1, 1, [])
    assert done["effects"] == {"status": {"applied": 0, "waiting": 1, "known": 0}}
    (row,) = deliveries(any_inbox)
    assert row["processed_at"] == row["received_at"]
    assert (bytes(row["body"]), bytes(row["digest"]), row["is_compressed"]) == (body, b"\x00\xff", True)
    assert (row["account"], row["kinds"], row["has_unknown"], row["subjects"]) == (
        "bot",
        {"message": 1, "status": 1},
        True,
        [-5, 7],
    )
    assert (row["error"], row["attempts"], row["next_attempt_at"]) == (None, 1, None)
    assert any_inbox.column("select content_text from messages") == ["text of e1"]
    assert any_inbox.column("select raw_payload from webhook_events") == [{}]


def test_nothing_comes_twice(inbox: Inbox) -> None:
    """The same body in two deliveries, in one call and in another one, makes one message."""
    for _ in range(2):
        take(inbox, [head(), head()], [line("e1"), line("e1", 1)], [status("m9"), status("m9", 1)])
    assert inbox.counts() == {"contacts": 1, "contact_channels": 1, "conversations": 1, "messages": 1}
    assert inbox.value("select count(*) from router.waiting") == 1
    assert len(deliveries(inbox)) == 4


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"event_id": None}, "23502"),
        ({"event_date": "2026-13-45T00:00:00Z"}, "22008"),
        ({"author_id": "x" * 513}, "22001"),
        ({"channel": "carrier pigeon"}, "23514"),
    ],
)
def test_a_refused_line_harms_no_other(inbox: Inbox, bad: dict[str, Any], code: str) -> None:
    """Not even those of its own delivery, which is tried again; its row says why without quoting anything."""
    done = take(inbox, [head(), head(), head()], [line("e1"), line("secret", 1) | bad, line("e2", 1), line("e3", 2)])
    assert (done["refused"], done["codes"], done["inserted"]) == ([2], [code], 3)
    first, second, third = deliveries(inbox)
    assert [row["processed_at"] is not None for row in (first, second, third)] == [True, False, True]
    assert second["error"].startswith(f"{code}: ")
    for value in ("secret", "pigeon", "2026-13", "xxx"):
        assert value not in second["error"] + done["reasons"][0]
    wait = second["next_attempt_at"] - second["received_at"]
    assert timedelta(seconds=10) <= wait <= timedelta(seconds=13)


def test_a_refused_effect_harms_no_other(inbox: Inbox) -> None:
    """One that cannot be read is refused alone."""
    done = take(inbox, [head(), head()], [line("e1")], [status("m1", 1, at="never"), status("m2")])
    assert (done["refused"], done["inserted"]) == ([2], 1)
    assert inbox.column("select target from router.waiting") == ["m2"]


def test_a_line_that_is_no_json_for_postgres(inbox: Inbox) -> None:
    """A number that no numeric holds, for example, is refused with the delivery that it names."""
    lines = json.dumps(line("e1")) + '\n{"delivery": 1, "event_id": "e2", "content": 1e999999}'
    done = take(inbox, [head(), head()], lines)
    assert (done["refused"], done["codes"], done["inserted"]) == ([2], ["22003"], 1)


def test_a_fault_of_the_schema_leaves_deliveries_stored(inbox: Inbox) -> None:
    """Nothing is lost while a trigger of the application is broken, and they take effect when it is mended."""
    inbox.run(
        "create function broken() returns trigger language plpgsql as $$ begin perform nowhere(); return new; end $$;"
        "create trigger broken before insert on webhook_events for each row execute function broken()"
    )
    done = take(inbox, [head(), head(), head()], [line("e1"), line("e2", 1)], [status("m9", 2)])
    assert (done["refused"], done["codes"]) == ([1, 2], ["42883", "42883"])
    assert [row["processed_at"] is not None for row in deliveries(inbox)] == [False, False, True]
    assert inbox.count("webhook_events") == 0
    inbox.run("drop function broken cascade")
    make_due(inbox)
    claimed = claim(inbox)
    done = take(
        inbox,
        [head(id=row["id"], received_at=row["received_at"].isoformat()) for row in claimed],
        [line("e1"), line("e2", 1)],
        bodies=[None] * len(claimed),
    )
    assert (done["inserted"], done["refused"]) == (2, [])
    assert all(row["processed_at"] and row["body"] is not None for row in deliveries(inbox))
    assert len(deliveries(inbox)) == 3


def test_what_will_pass_is_raised(inbox: Inbox) -> None:
    """A deadlock, for example: nothing is stored, and whoever has called tries again."""
    inbox.run(
        "create function late() returns trigger language plpgsql as"
        " $$ begin raise exception using errcode = 'deadlock_detected'; end $$;"
        "create trigger late before insert on messages for each row execute function late()"
    )
    with pytest.raises(psycopg.errors.DeadlockDetected):
        take(inbox, [head()], [line("e1")])
    assert deliveries(inbox) == []


def test_an_error_of_whoever_reads_bodies(inbox: Inbox) -> None:
    """What could not be taken apart is kept, with the reason, and is tried again."""
    take(inbox, [head(error="ValueError"), head()])
    failed, fine = deliveries(inbox)
    assert (failed["processed_at"], failed["error"], failed["attempts"]) == (None, "ValueError", 1)
    assert fine["processed_at"]


def test_stored_only_and_processed_later(any_inbox: Inbox) -> None:
    """They come in the order of their arrival, once; a message without a time has that of its arrival."""
    came = datetime.now(UTC) - timedelta(minutes=3)
    take(any_inbox, [head(received_at=came.isoformat()), head()], store_only=True)
    assert any_inbox.count("webhook_events") == 0
    assert [row["attempts"] for row in deliveries(any_inbox)] == [0, 0]
    claimed = claim(any_inbox)
    assert claimed[0]["received_at"] == came
    assert [bytes(row["body"]) for row in claimed] == [b"{}", b"{}"]
    assert claim(any_inbox) == []
    told = [head(id=row["id"], received_at=row["received_at"].isoformat()) for row in claimed]
    lines = [line("e1", event_date=None), line("e2", 1)]
    for _ in range(2):
        take(any_inbox, told, lines, bodies=[None, None])
    assert any_inbox.column("select sent_at from messages where provider_message_id = 'e1'") == [came]
    rows = deliveries(any_inbox)
    assert [row["processed_at"] is not None for row in rows] == [True, True]
    assert [row["attempts"] for row in rows] == [1, 1]


def test_one_that_takes_effect_in_parts(inbox: Inbox) -> None:
    """It is processed with its last part; should that never come, all of it is claimed again."""
    take(inbox, [head()], store_only=True)
    (claimed,) = claim(inbox)
    before = deliveries(inbox)
    take(inbox, [head(id=claimed["id"], partial=True, subjects=[1])], [line("e1")], bodies=[None])
    assert inbox.column("select content_text from messages") == ["text of e1"]
    assert deliveries(inbox) == before
    make_due(inbox)
    assert [row["id"] for row in claim(inbox)] == [claimed["id"]]
    take(inbox, [head(id=claimed["id"], subjects=[1])], [line("e1"), line("e2")], bodies=[None])
    assert inbox.count("messages") == 2
    (row,) = deliveries(inbox)
    assert (row["processed_at"] is not None, row["subjects"], row["attempts"]) == (True, [1], 2)


def test_a_redelivery_without_a_time_moves_nothing(inbox: Inbox) -> None:
    """The first arrival counts, also where a later one is processed first as a stored delivery."""
    take(inbox, [head()], [line("e1", event_date=None)])
    first = inbox.value("select event_date from webhook_events")
    take(inbox, [head(received_at="2026-01-01T00:00:00Z")], [line("e1", event_date=None)])
    assert inbox.value("select event_date from webhook_events") == first


def test_a_claim_is_bounded(inbox: Inbox) -> None:
    """By number and by bytes; a body that is larger than the bound comes alone."""
    sizes = [100, 100, 100, 1000, 10]
    take(inbox, [head() for _ in sizes], store_only=True, bodies=[b"x" * size for size in sizes])
    found = [[len(row["body"]) for row in claim(inbox, limit, 250)] for limit in (1, 9, 9, 9, 9)]
    assert found == [[100], [100, 100], [1000], [10], []]


def test_two_claim_different_ones(inbox: Inbox) -> None:
    """Neither waits for the other."""
    take(inbox, [head(), head()], store_only=True)
    other = inbox.another()
    with other.transaction():
        first = claim(other, 1)
        second = claim(inbox)
    assert {row["id"] for row in first}.isdisjoint({row["id"] for row in second})
    assert len(first) == len(second) == 1


def test_a_delivery_that_never_works_is_given_up(inbox: Inbox) -> None:
    """After ten attempts, whether they end with an error or whoever makes them ends."""
    take(inbox, [head()], store_only=True)
    for attempt in range(1, 11):
        make_due(inbox)
        (row,) = claim(inbox)
        assert row["attempts"] == attempt
        if attempt % 2:
            take(inbox, [head(id=row["id"], error="still")], bodies=[None])
    assert claim(inbox) == []
    assert inbox.column("select attempts from router.deliveries where next_attempt_at = 'infinity'") == [10]
    assert inbox.column("select id from router.deliveries_list(p_state => 'dead')") == [row["id"]]


def test_the_text_of_a_deleted_message_is_not_stored(inbox: Inbox) -> None:
    """Whether its delivery is new, or was stored before it was read, or is given up."""
    inbox.run("insert into router.deleted_messages (subject) values (-77), (5)")
    take(inbox, [head()], store_only=True)
    (claimed,) = claim(inbox)
    take(inbox, [head(id=claimed["id"], subjects=[-77]), head(subjects=[1, 5]), head(subjects=[6])])
    assert [row["body"] is None for row in deliveries(inbox)] == [True, True, False]
    take(inbox, [head(subjects=[5], error="of the reader")])
    (waiting,) = inbox.rows("select id, body from router.deliveries where processed_at is null")
    assert waiting["body"] is not None
    inbox.run("update router.deliveries set attempts = 10 where id = %s", waiting["id"])
    take(inbox, [head(id=waiting["id"], subjects=[5], error="of the reader")], bodies=[None])
    assert inbox.column("select body from router.deliveries where id = %s", waiting["id"]) == [None]


def test_a_trigger_that_stores_events_under_other_keys(inbox: Inbox) -> None:
    """They are routed all the same."""
    inbox.run(
        "create function prefixed() returns trigger language plpgsql as"
        " $$ begin new.event_id := 'app-' || new.event_id; return new; end $$;"
        "create trigger prefixed before insert on webhook_events for each row execute function prefixed()"
    )
    done = take(inbox, [head()], [line("e1")])
    assert (done["inserted"], done["refused"]) == (1, [])


def test_partitions_are_made_ahead_and_dropped(any_inbox: Inbox) -> None:
    """Of today and the next days; a day is gone when all of it is older than it is to be kept."""
    keep = "select router.keep_deliveries(%s)"
    any_inbox.run(keep, timedelta(days=7))
    days = "select relname from pg_class where relname ~ '^deliveries_[0-9]{8}$' and relkind = 'r' order by 1"
    made = any_inbox.column(days)
    today = any_inbox.value("select to_char(now() at time zone 'UTC', 'YYYYMMDD')")
    assert (len(made), made[0]) == (4, f"deliveries_{today}")
    take(any_inbox, [head()])
    assert any_inbox.value("select tableoid::regclass::text from router.deliveries") == f"router.{made[0]}"
    any_inbox.run(keep, timedelta(days=7))
    assert any_inbox.column(days) == made
    any_inbox.run("begin")
    any_inbox.run(keep, timedelta(days=-2))
    assert any_inbox.column(days) == made[2:]
    any_inbox.run("rollback")
    take(any_inbox, [head()], store_only=True)
    any_inbox.run("begin")
    any_inbox.run(keep, timedelta(days=-2))
    assert any_inbox.column(days) == [made[0], *made[2:]]
    any_inbox.run("rollback")


def test_deliveries_of_days_without_a_partition(inbox: Inbox) -> None:
    """They are kept in one of their own, until they are old; those that will be tried again stay."""
    old = "2020-01-01T00:00:00Z"
    take(inbox, [head(received_at=old), head()])
    take(inbox, [head(received_at=old)], store_only=True)
    assert inbox.value("select router.keep_deliveries('7 days')") == 1
    assert [row["processed_at"] is None for row in deliveries(inbox)] == [False, True]


def test_keeping_waits_for_nobody(inbox: Inbox) -> None:
    """Who reads deliveries for a long time puts it off."""
    inbox.run("select router.keep_deliveries('7 days')")
    other = inbox.another()
    with other.transaction():
        other.run("select from router.deliveries")
        inbox.run("select router.keep_deliveries('-2 days')")
        assert inbox.value("select count(*) from pg_inherits where inhparent = 'router.deliveries'::regclass") == 5


def test_what_operators_see(inbox: Inbox) -> None:
    """Kinds with their numbers, lists by state and kind, one delivery, and those to be processed again."""
    take(inbox, [head(kinds={"message": 2, "poll": 1}, unknown=True), head(provider="telegram", kinds={"poll": 3})])
    take(inbox, [head(kinds={}, error="oops")], bodies=[b"body"])
    first, second, third = (row["id"] for row in deliveries(inbox))
    kinds = inbox.rows("select provider, kind, deliveries, atoms from router.deliveries_kinds()")
    assert [tuple(row.values()) for row in kinds] == [
        ("telegram", "poll", 1, 3),
        ("whatsapp", "message", 1, 2),
        ("whatsapp", "poll", 1, 1),
    ]

    def listed(**named: Any) -> list[int]:
        arguments = ", ".join(f"p_{name} => %s" for name in named)
        return inbox.column(f"select id from router.deliveries_list({arguments})", *named.values())

    assert listed() == [third, second, first]
    assert listed(provider="telegram") == [second]
    assert listed(kind="poll") == [second, first]
    assert listed(state="unknown") == [first]
    assert listed(state="waiting") == [third]
    assert listed(state="troubled") == [third, first]
    assert listed(limit=1) == [third]
    shown = inbox.row("select body, error from router.deliveries_show(%s)", third)
    assert (bytes(shown["body"]), shown["error"]) == (b"body", "oops")
    inbox.run("update router.deliveries set body = null where id = %s", first)
    since = "select id from router.deliveries_since('whatsapp', now() - interval '1 hour')"
    assert inbox.column(since) == [third]


def test_what_was_not_understood(inbox: Inbox) -> None:
    """Groups, the latest of each with its body, both bounded; no partition is read from one end to the other."""
    mixed = head(kinds={"unknown": 2, "message": 1}, unknown=True)
    take(inbox, [mixed, head(kinds={"unknown": 1}, unknown=True), head()], bodies=[b"first", b"other", b"known"])
    take(inbox, [mixed, head(kinds={}, error="oops")], bodies=[b"second", b"failed"])
    inbox.run(
        "insert into router.deliveries (provider, digest, received_at, processed_at) "
        "select 'telegram', '', now() - interval '1 h', now() from generate_series(1, 5000)"
    )
    columns = "state, provider, kinds, error, deliveries, atoms, is_partial"
    counted = f"select {columns} from router.deliveries_troubled(now() - interval '1 day')"
    latest = "select body, size from router.deliveries_example('whatsapp', %s, '-infinity', p_bytes => %s)"
    scanned = "select sum(seq_scan) from pg_stat_xact_all_tables where schemaname = 'router'"
    inbox.run("begin")
    before = inbox.value(scanned)
    assert [tuple(row.values()) for row in inbox.rows(counted)] == [
        ("unknown", "whatsapp", ["message", "unknown"], None, 2, 4, False),
        ("unknown", "whatsapp", ["unknown"], None, 1, 1, False),
        ("waiting", "whatsapp", None, "oops", 1, 0, False),
    ]
    assert tuple(inbox.row(latest, ["message", "unknown"], 100).values()) == (b"second", 6)
    assert tuple(inbox.row(latest, ["message", "unknown"], 5).values()) == (None, 6)
    assert inbox.rows(latest, ["message"], 100) == []
    bounded = counted.replace("day')", "day', 2)")
    assert [(row["deliveries"], row["is_partial"]) for row in inbox.rows(bounded)][:2] == [(1, True), (1, True)]
    assert inbox.value(scanned) == before
    inbox.run("commit")
    inbox.run("update router.deliveries set received_at = now() - interval '2 days'")
    assert inbox.rows(counted) == []


def test_what_is_in_effect_is_not_handed_out(any_inbox: Inbox) -> None:
    """Neither by an error nor as not understood, to whoever has the rights of the service: its body is read by those
    who may read all of them, and whose replay of it is tried again when something was refused."""
    take(any_inbox, [head(kinds={"message": 1})], bodies=[b"secret"])
    (before,) = deliveries(any_inbox)
    told = head(id=before["id"], kinds={"planted": 1}, unknown=True)
    example = "select body from router.deliveries_example('whatsapp', '{planted}', '-infinity')"
    any_inbox.run("create role thief; grant usage on schema router to thief")
    any_inbox.run(
        "grant execute on function router.take_deliveries(jsonb,bytea[],text,text,boolean,text), "
        "router.deliveries_example(text,text[],timestamptz,integer,integer) to thief"
    )
    try:
        any_inbox.run("set session authorization thief")
        for change in ({}, {"error": "planted"}):
            take(any_inbox, [told | change], bodies=[None])
        assert any_inbox.rows(example) == []
        any_inbox.run("reset session authorization")
        assert deliveries(any_inbox) == [before]
    finally:
        any_inbox.run("reset session authorization; drop owned by thief; drop role thief")
    take(any_inbox, [told | {"error": "of the reader"}], bodies=[None])
    make_due(any_inbox)
    assert [row["body"] for row in claim(any_inbox)] == [b"secret"]
