"""`webhook-router erase` and `export`: what they say, what they refuse, and what happens beside them."""

import itertools
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from consumer.domain.errors import ConsumerError, Misconfigured
from tests.cli import run
from tests.processes import running
from tests.waiting import wait_for

Connection = psycopg.Connection[TupleRow]

ROUTE = "select public.ingest_route_analyze('whatsapp', 'message', %s, %s, %s, %s, now(), %s)"
ANA, BEN = "4915112345678", "4915187654321"


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """Ana has written three messages, Ben two, and one of Ana's cannot be routed."""
    with psycopg.connect(database, autocommit=True) as opened:
        for who, name, count in ((ANA, "ana", 3), (BEN, "ben", 2)):
            for number in range(count):
                payload, full_name = json.dumps({"from": who}), f"{name.title()} Secret"
                opened.execute(ROUTE, (f"{name}-{number}", who, full_name, f"{name}'s text {number}", payload))
        opened.execute(
            """
            insert into public.webhook_events (channel, type, event_id, author_id, content, event_date)
            values ('whatsapp', 'message', 'ana-parked', %s, 'endless', 'infinity')
            """,
            [ANA],
        )
        opened.execute("select router.route_batch(10)")
        yield opened


def deliver(connection: Connection, number: int, who: str, *, processed: bool = True) -> None:
    """A body that mentions somebody."""
    message = {"from": who, "id": f"d-{number}"}
    body = json.dumps({"entry": [{"changes": [{"value": {"messages": [message]}}]}]}).encode()
    connection.execute(
        """
        insert into router.deliveries (provider, body, is_compressed, digest, kinds, processed_at, next_attempt_at)
        values ('whatsapp', %s, true, sha256(%s), '{}', case when %s then now() end, case when not %s then now() end)
        """,
        [zlib.compress(body), body, processed, processed],
    )


def value(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_person_goes_and_the_others_stay(database: str, connection: Connection) -> None:
    """A report by table; a dry run says the same numbers; the second time nothing is known."""
    for number, who in enumerate([ANA, BEN, ANA]):
        deliver(connection, number, who)
    dry = run(database, "erase", "whatsapp", ANA, "--dry-run", "--json")
    assert dry.code == 0
    assert dry.json["gone"] == {
        "contacts": 1,
        "contact_channels": 1,
        "conversations": 1,
        "messages": 3,
        "message_analysis": 3,
        "webhook_events": 4,
        "router.parked_events": 1,
        "router.deliveries": 2,
    }
    assert value(connection, "select count(*) from public.contacts") == 2
    assert value(connection, "select count(body) from router.deliveries") == 3
    assert value(connection, "select count(*) from router.erasures") == 0
    done = run(database, "erase", "WhatsApp", f"+{ANA}")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[2:]]
    assert rows[:2] == [["contact_channels", "|", "1"], ["contacts", "|", "1"]]
    assert rows[-1] == ["all", "|", str(sum(dry.json["gone"].values()))]
    assert "Ana" not in done.out
    assert ANA not in done.out
    assert value(connection, "select count(*) from public.contacts") == 1
    assert value(connection, "select count(*) from public.messages") == 2
    assert value(connection, "select count(body) from router.deliveries") == 1
    again = run(database, "erase", "whatsapp", ANA)
    assert (again.code, again.out) == (0, "nothing is known of this person\n")


def test_an_audit_line_says_who_and_how_much_and_nothing_of_the_person(database: str, connection: Connection) -> None:
    """One for each erasure that has deleted something."""
    for _ in range(2):
        run(database, "erase", "whatsapp", ANA)
    rows = connection.execute("select erased_by = session_user, gone from router.erasures").fetchall()
    assert len(rows) == 1
    assert rows[0][0]
    assert rows[0][1]["messages"] == 3
    text = str(value(connection, "select e::text from router.erasures e"))
    assert not [word for word in (ANA, "Ana", "ana-") if word in text]


def test_an_export_has_every_row(database: str, connection: Connection) -> None:
    """With all columns, as JSON; of somebody who is not known it is empty."""
    found = run(database, "export", "whatsapp", ANA).json
    assert {table: len(rows) for table, rows in found.items()} == {
        "contacts": 1,
        "contact_channels": 1,
        "conversations": 1,
        "messages": 3,
        "message_analysis": 3,
        "webhook_events": 4,
        "router.parked_events": 1,
    }
    assert found["contacts"][0]["full_name"] == "Ana Secret"
    assert [row["content_text"] for row in found["messages"]] == [f"ana's text {number}" for number in range(3)]
    assert "Ben" not in json.dumps(found)
    assert run(database, "export", "whatsapp", "4900000000").json == {}


def test_what_refers_to_them_is_named(database: str, connection: Connection) -> None:
    """A table of the application's with a foreign key of its own: nothing goes, and the advice helps."""
    connection.execute(
        """
        create table public.orders (contact uuid references public.contacts);
        insert into public.orders select id from public.contacts where full_name = 'Ana Secret';
        """
    )
    done = run(database, "erase", "whatsapp", ANA)
    assert isinstance(done.error, ConsumerError)
    assert "rows of orders refer to what was to go" in str(done.error)
    assert "orders_contact_fkey" in str(done.error)
    assert value(connection, "select count(*) from public.contacts") == 2
    connection.execute("delete from public.orders")
    assert run(database, "erase", "whatsapp", ANA).code == 0


def test_a_trigger_that_keeps_rows_is_an_error(database: str, connection: Connection) -> None:
    """Half an erasure is none."""
    connection.execute(
        """
        create function public.keep() returns trigger language plpgsql as 'begin return null; end';
        create trigger keep before delete on public.messages for each row execute function public.keep();
        """
    )
    done = run(database, "erase", "whatsapp", ANA)
    assert done.error is not None
    assert "a trigger or rule on messages keeps 3 of 3 rows" in str(done.error)
    assert value(connection, "select count(*) from public.webhook_events") == 6
    assert value(connection, "select count(*) from router.erasures") == 0


def test_a_delivery_that_is_not_in_effect_keeps_its_body(database: str, connection: Connection) -> None:
    """It may hold what others wrote, which would be lost; the exit code says that there is something left to do."""
    deliver(connection, 1, ANA, processed=False)
    done = run(database, "erase", "whatsapp", ANA)
    assert done.code == 1
    assert "1 deliveries that mention the person are not in effect yet, so the person is not erased" in done.err
    assert value(connection, "select count(body) from router.deliveries") == 1
    assert value(connection, "select count(*) from public.contacts") == 2, "what tells its other identities is needed"
    connection.execute("update router.deliveries set processed_at = now(), next_attempt_at = null")
    again = run(database, "erase", "whatsapp", ANA, "--json")
    assert (again.code, again.json["gone"]["router.deliveries"], again.json["gone"]["contacts"]) == (0, 1, 1)


def test_a_thread_of_several_people_keeps_what_the_others_wrote(database: str, connection: Connection) -> None:
    """Comments below a post: the conversation stays, and so do the others' messages in it."""
    for who, number in itertools.product(("ana", "ben"), range(2)):
        connection.execute(
            """
            select public.ingest_webhook_event('instagram', 'comment', %s, %s, %s, %s, now(), 'post-1', null, '{}')
            """,
            [f"c-{who}-{number}", f"1784{who}", who, f"{who} comments {number}"],
        )
    connection.execute("select router.route_batch(10)")
    done = run(database, "erase", "instagram", "1784ana", "--json")
    assert done.code == 0
    assert value(connection, "select count(*) from public.messages where content_text like 'ana comments%'") == 0
    assert value(connection, "select count(*) from public.messages where content_text like 'ben comments%'") == 2
    assert value(connection, "select count(*) from public.webhook_events where event_id like 'c-ben%'") == 2


def test_contacts_that_are_one_person_go_together(database: str, connection: Connection) -> None:
    """Two contacts that were made apart and are noted as the same."""
    connection.execute(
        "update public.contact_channels set metadata = jsonb_build_object('same_as', %s::text) where external_id = %s",
        [BEN, ANA],
    )
    assert run(database, "erase", "whatsapp", BEN, "--json").json["gone"]["contacts"] == 2
    assert value(connection, "select count(*) from public.contacts") == 0


def test_the_services_login_may_not(database: str, connection: Connection) -> None:
    """What people wrote, and that it goes, is the owner's business; the line says whose URL to give."""
    name = f"service_{value(connection, 'select current_database()')}"
    connection.execute(f"create role {name} login password 'x'; grant usage on schema router to {name}".encode())
    try:
        dsn = psycopg.conninfo.make_conninfo(database, user=name, password="x")
        for command in ("erase", "export"):
            done = run(dsn, command, "whatsapp", ANA)
            assert done.error is not None
            assert "owner" in str(done.error)
        assert value(connection, "select count(*) from public.contacts") == 2
    finally:
        connection.execute(f"drop owned by {name}; drop role {name}".encode())


def test_no_superuser_erases_what_others_own(database: str, connection: Connection) -> None:
    """Triggers of the owner's would run with all rights at the commit."""
    role = f"keeper_{value(connection, 'select current_database()')}"
    connection.execute(f"create role {role}".encode())
    try:
        connection.execute(f"alter function router.erase owner to {role}".encode())
        done = run(database, "erase", "whatsapp", ANA)
        assert isinstance(done.error, Misconfigured)
        assert "superuser" in str(done.error)
    finally:
        connection.execute(f"reassign owned by {role} to current_user; drop owned by {role}; drop role {role}".encode())


def test_it_does_not_lose_what_others_send_meanwhile(database: str, connection: Connection) -> None:
    """Beside a service that routes events of the same person and of others: no event hangs, none is parked."""
    numbers = itertools.count(100)

    def send() -> None:
        for number in itertools.islice(numbers, 20):
            for who, name in ((ANA, "ana"), (BEN, "ben")):
                connection.execute(
                    """
                    insert into public.webhook_events (channel, type, event_id, author_id, content, event_date)
                    values ('whatsapp', 'message', %s, %s, 'hello', now())
                    """,
                    [f"{name}-{number}", who],
                )

    with running(database) as router, ThreadPoolExecutor(1) as pool:
        router.until_listening()
        for _ in range(5):
            erasing = pool.submit(run, database, "erase", "whatsapp", ANA)
            send()
            assert erasing.result().error is None
        unrouted = "select count(*) from public.webhook_events where routed_at is null and parked_until is null"
        wait_for(lambda: value(connection, unrouted) == 0, what="an empty backlog")
    assert value(connection, "select count(*) from public.messages where provider_message_id like 'ben-%'") == 102
    assert value(connection, "select count(*) from router.parked_events") == 0
    run(database, "erase", "whatsapp", ANA)
    assert value(connection, "select count(*) from public.contacts") == 1


@pytest.mark.parametrize(
    "held",
    ["public.webhook_events where event_id = 'ana-0'", "public.conversations where contact_id in (select id from ana)"],
    ids=["event", "conversation"],
)
def test_routing_goes_first(database: str, connection: Connection, held: str) -> None:
    """It locks these before the contact; waiting for the one with the other locked would be a deadlock."""
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    before = value(connection, deadlocks)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as routing:
        ana = "with ana as (select id from public.contacts where full_name = 'Ana Secret')"
        routing.execute(f"{ana} select from {held} for update".encode())
        erasing = pool.submit(run, database, "erase", "whatsapp", ANA)
        others = (
            "select string_agg(query, ' ') like '%router.erase(%' from pg_stat_activity where pid <> pg_backend_pid()"
        )
        wait_for(lambda: value(connection, others), what="an attempt")
        routing.execute("set local lock_timeout = '20s'")
        routing.execute("select from public.contacts where full_name = 'Ana Secret' for update")
        routing.execute("update public.contacts set full_name = 'Ana' where full_name = 'Ana Secret'")
        routing.commit()
        assert erasing.result().error is None
    assert value(connection, "select count(*) from public.contacts") == 1
    assert value(connection, deadlocks) == before


def test_an_unrouted_event_under_another_identity(database: str, connection: Connection) -> None:
    """One that nobody knows yet is its author; Ana's is among its people. Who only mentions her is somebody else."""
    connection.execute(
        "insert into public.webhook_events (channel, type, event_id, author_id, event_date, normalized) "
        "values ('whatsapp', 'message', 'both', 'DE.77', 'infinity', %s), "
        "('whatsapp', 'message', 'mention', 'DE.88', 'infinity', %s)",
        [json.dumps({"people": [{"id": "DE.77"}, {"id": ANA}]}), json.dumps({"people": 1, "note": ANA})],
    )
    assert len(run(database, "export", "whatsapp", ANA).json["webhook_events"]) == 5
    assert run(database, "erase", "whatsapp", ANA, "--json").json["gone"]["webhook_events"] == 5
    assert value(connection, "select count(*) from public.webhook_events where event_id = 'mention'") == 1


def test_no_id_is_nobody(database: str, connection: Connection) -> None:
    """Nothing would be in every body."""
    deliver(connection, 1, "")
    for command in ("erase", "export"):
        for nothing in ("", "  "):
            refused = run(database, command, "whatsapp", nothing)
            assert isinstance(refused.error, Misconfigured)
            assert "blank" in str(refused.error)
    assert value(connection, "select count(body) from router.deliveries") == 1


def test_a_channel_that_lost_its_contact_goes_too(database: str, connection: Connection) -> None:
    """In a table of the application that allows it."""
    connection.execute(
        "alter table public.contact_channels alter column contact_id drop not null; "
        "insert into public.contact_channels (channel, external_id, display_name) "
        "values ('telegram', '777000111', 'Ana')"
    )
    assert run(database, "export", "telegram", "777000111").json["contact_channels"][0]["display_name"] == "Ana"
    assert run(database, "erase", "telegram", "777000111", "--json").json["gone"] == {"contact_channels": 1}


def test_archives_that_hold_the_person_are_listed(database: str, connection: Connection, tmp_path: Path) -> None:
    """With how many lines; no file is changed. Later, by the same id, they are found again."""
    connection.execute(
        "update public.webhook_events set routed_at = now() - interval '90 days' where routed_at is not null"
    )
    pruned = run(database, "prune", "--keep-events", "30d", "--archive", str(tmp_path), "--share", "1")
    assert pruned.code == 0, pruned.err
    files = {file: file.read_bytes() for file in tmp_path.rglob("*.gz")}
    assert files
    done = run(database, "erase", "whatsapp", ANA, "--archive", str(tmp_path), "--json")
    assert sum(file["lines"] for file in done.json["archived"]) == 3
    assert {file["damaged"] for file in done.json["archived"]} == {False}
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.gz")} == files
    again = run(database, "erase", "whatsapp", ANA, "--archive", str(tmp_path))
    assert again.out.startswith("nothing is known of this person\n")
    assert "archive" in again.out
    assert run(database, "erase", "whatsapp", "4900000001", "--archive", str(tmp_path), "--json").json["archived"] == []


def test_a_channel_that_nobody_knows_is_a_typing_error(database: str, connection: Connection) -> None:
    """Else somebody would believe that the person is forgotten."""
    for command in ("erase", "export"):
        done = run(database, command, "messenger", "123456")
        assert isinstance(done.error, Misconfigured)
        assert "that of Messenger is called facebook" in str(done.error)
        assert run(database, command, "facebook", "123456").error is None


@pytest.mark.parametrize("plus", ["", "+"], ids=["digits", "plus"])
def test_a_contact_with_the_number_alone_goes_too(database: str, connection: Connection, plus: str) -> None:
    """The application has made it, and the person has not written yet."""
    phone = f"{plus}4915100000001"
    connection.execute("insert into public.contacts (full_name, whatsapp_phone) values ('Cy', %s)", [phone])
    assert run(database, "export", "whatsapp", "4915100000001").json["contacts"][0]["full_name"] == "Cy"
    assert run(database, "erase", "whatsapp", "4915100000001", "--json").json["gone"] == {"contacts": 1}
    assert value(connection, "select count(*) from public.contacts where full_name = 'Cy'") == 0


def test_spellings_of_a_number_lead_to_one_person(database: str, connection: Connection) -> None:
    """Two contacts that were made apart, of one number; the second has another channel, whose rows go as well."""
    for number, who in enumerate(("5215512345678", "525512345678")):
        connection.execute(ROUTE, (f"mx-{number}", who, f"Mx {number}", "hola", "{}"))
    connection.execute(
        """
        insert into public.contact_channels (contact_id, channel, external_id)
        select contact_id, 'telegram', '777000111' from public.contact_channels where external_id = '525512345678'
        """
    )
    connection.execute(
        """
        insert into public.webhook_events (channel, type, event_id, author_id, event_date)
        values ('telegram', 'message', 'unrouted', '777000111', 'infinity')
        """
    )
    done = run(database, "erase", "whatsapp", "5215512345678", "--json")
    assert done.json["gone"]["contacts"] == 2
    assert value(connection, "select count(*) from public.webhook_events where author_id = '777000111'") == 0


def test_a_shared_conversation_stays_whatever_its_key_does(database: str, connection: Connection) -> None:
    """Also where the application has a foreign key that would take it along."""
    connection.execute(
        """
        alter table public.conversations drop constraint conversations_contact_id_fkey,
            add foreign key (contact_id) references public.contacts on delete cascade;
        insert into public.messages (conversation_id, contact_id, channel, direction, content_text)
        select v.id, b.id, 'whatsapp', 'inbound', 'ben was here'
        from public.conversations v
        join public.contacts a on a.id = v.contact_id and a.full_name = 'Ana Secret'
        cross join (select id from public.contacts where full_name = 'Ben Secret') b
        """
    )
    assert run(database, "erase", "whatsapp", ANA).code == 0
    assert value(connection, "select count(*) from public.messages where content_text = 'ben was here'") == 1
    assert value(connection, "select count(*) from public.messages where content_text like 'ana%'") == 0
