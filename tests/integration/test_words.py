"""Errors of the database on their way to the log: one line each, and nothing of a row."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.connection import translation
from tests.cli import run

SECRET = "xyzzy-secret"


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


BLOCK = "do $$ declare v text := 'xyzzy-secret'; begin {} end $$"
FUNCTION = """
create function public.judge(v text) returns void language plpgsql as $f$ begin {} end $f$;
select public.judge('xyzzy-secret');
"""


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("perform v::integer;", 'invalid input syntax for type integer: "…" [22P02]'),
        ("perform (v || chr(34))::uuid;", 'invalid input syntax for type uuid: "…" [22P02]'),
        ("perform v::jsonb;", "invalid input syntax for type json [22P02]"),
        ("perform to_tsvector(replace(v, '-', '')::regconfig, 'x');", 'text search configuration "…" does not exist'),
        (
            "raise exception '%', v using hint = v, detail = v;",
            "a trigger or function of the application raised an error",
        ),
        ("assert false, v;", "a trigger or function of the application raised an error"),
        ("execute 'sel ' || v;", "a trigger or function of the application raised an error"),
        ("perform absent_function();", "function absent_function() does not exist"),
        ("perform 1 / 0;", "division by zero [22012]"),
    ],
)
def test_nothing_of_a_row_is_said(connection: psycopg.Connection, code: str, kept: str) -> None:
    """Values of failed casts are cut; what the application's code writes is left out, its hint as well."""
    for form in (BLOCK, FUNCTION):
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(form.format(code).encode())
        said = str(translation(caught.value))
        assert kept in said
        assert "xyzzy" not in said


def test_one_fault_is_one_line(connection: psycopg.Connection) -> None:
    """Whatever a message and its hint hold: line feeds, colours, marks that turn text around."""
    connection.execute(
        r"""
        create function router.odd() returns void language plpgsql as $$
        begin raise exception E'a\nb\x1b[31m' using hint = E'c\r\n\nd\u202e\u0085'; end $$
        """
    )
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("select router.odd()")
    assert str(translation(caught.value)) == "database: a b\\x1b[31m (c d\\u202e) [P0001]"


def test_a_decision_that_a_trigger_refuses(database: str, connection: psycopg.Connection) -> None:
    """The commands of an operator say no more than the log does."""
    connection.execute(
        "insert into webhook_events (channel, type, event_id, event_date) "
        "values ('instagram', 'message', 'e', 'infinity')"
    )
    connection.execute("select router.route_batch(10)")
    connection.execute(
        """
        create function public.judge() returns trigger language plpgsql as
        $$ begin perform new.event_id::integer; return new; end $$;
        create trigger judge before update on webhook_events for each row execute function public.judge();
        """
    )
    error = run(database, "parked", "retry", "--all").error
    assert error is not None
    assert str(error).startswith('database: invalid input syntax for type integer: "…" [22P02]')


def test_nothing_that_people_wrote_reaches_a_terminal_as_it_is(database: str, connection: psycopg.Connection) -> None:
    """In tables, in JSON and in lists of what migrate would do: control characters of both sets, and marks."""
    odd = "a\x1b[31m\x9b2J\x07\u202eb"
    connection.execute(
        "insert into webhook_events (channel, type, event_id, author_name, content, event_date, raw_payload) "
        "values ('instagram', 'message', %s, %s, %s, 'infinity', jsonb_build_object('x', %s::text))",
        [odd, odd, odd, odd],
    )
    connection.execute("select router.route_batch(10)")
    row = connection.execute("select id::text from webhook_events").fetchone()
    assert row is not None
    connection.execute(sql.SQL("create table public.{} (like public.messages)").format(sql.Identifier(odd)))
    for words in (
        ("parked", "list"),
        ("parked", "list", "--json"),
        ("parked", "show", row[0], "--payload"),
        ("parked", "show", row[0], "--payload", "--json"),
        ("status", "--json"),
        ("audit",),
        ("audit", "--json"),
        ("migrate", "--check"),
    ):
        done = run(database, *words)
        assert not set(done.out + done.err) & set("\x1b\x9b\x07\u202e"), words
    shown = run(database, "parked", "show", row[0], "--payload", "--json").json[0]
    assert (shown["event_id"], shown["content"], shown["raw_payload"]) == (odd, odd, {"x": odd})
