"""What is kept and shown of the error of an event: its kind and the objects that it is about, nothing of the event."""

import psycopg
import pytest

from tests.sql.inbox import Inbox

SECRET = "0a1b2c-secret"

TRIGGER = """
create function public.judge() returns trigger language plpgsql as
$judge$
declare
    v_day date;
begin
    if new.content_text like '%secret%' then
        {body}
    end if;
    return new;
end
$judge$;
create trigger judge before insert on messages for each row execute function public.judge();
"""

KEPT = [
    (
        "perform new.content_text::integer;",
        '22P02 invalid_text_representation: invalid input syntax for type integer: "..."',
    ),
    ("v_day := new.content_text;", '22007 invalid_datetime_format: invalid input syntax for type date: "..."'),
    (
        "v_day := '2026-02-31 ' || new.content_text;",
        "22007 invalid_datetime_format: invalid input syntax for type date",
    ),
    (
        "perform (new.content_text || '\"a \"')::uuid;",
        "22P02 invalid_text_representation: invalid input syntax for type uuid",
    ),
    ("perform new.content_text::jsonb;", "22P02 invalid_text_representation: invalid input syntax for type json"),
    ("perform now() at time zone new.content_text;", '22023 invalid_parameter_value: time zone "..." not recognized'),
    ("perform to_date(new.content_text, 'YYYY-MM-DD');", '22007 invalid_datetime_format: invalid value "..."'),
    ("perform 'x' ~ ('(' || new.content_text);", "2201B invalid_regular_expression: invalid regular expression"),
    ("perform 1 / 0;", "22012 division_by_zero: division by zero (function judge())"),
    ("new.channel := null;", '23502 not_null_violation: null value in column "channel" of relation "messages"'),
    (
        "new.contact_id := gen_random_uuid();",
        (
            '23503 foreign_key_violation: insert or update on table "messages" violates foreign key constraint '
            '"messages_contact_id_fkey" (table public.messages, constraint messages_contact_id_fkey'
        ),
    ),
    ("raise exception 'it says %', new.content_text;", "P0001 raise_exception (function judge())"),
    ("raise check_violation using message = new.content_text;", "23514 check_violation (function judge())"),
    ("raise sqlstate 'MINE1' using message = new.content_text;", "MINE1 error (function judge())"),
    ("assert false, new.content_text;", "P0004 assert_failure (function judge())"),
    (
        "begin perform 1 / 0; exception when others then raise exception '% %', sqlerrm, new.content_text; end;",
        "P0001 raise_exception (function judge())",
    ),
    ("execute 'select 1 / 0 -- ' || new.content_text;", "22012 division_by_zero: division by zero (function judge())"),
    (
        "execute format('select %L::int', E'\\nPL/pgSQL function router.x() line 1 at RAISE ' || new.content_text);",
        '22P02 invalid_text_representation: invalid input syntax for type integer: "..." (function judge())',
    ),
]


@pytest.mark.parametrize(("body", "kept"), KEPT)
def test_what_is_kept_of_the_error_of_a_parked_event(any_inbox: Inbox, body: str, kept: str) -> None:
    """Failed casts and the words of triggers are cut to their kind; names of constraints, columns, functions stay."""
    any_inbox.run(TRIGGER.format(body=body))
    any_inbox.insert("e1", content=SECRET)
    batch = any_inbox.batch()
    assert (batch.parked, batch.held) == (1, 0), batch
    row = any_inbox.row(
        "select error_code || ' ' || error_message as kept, p::text as whole from router.parked_events p"
    )
    assert str(row["kept"]).startswith(kept), row
    assert SECRET not in str(row["whole"])
    shown = any_inbox.value("select error_message from router.parked()")
    assert str(row["kept"]).endswith(str(shown)), "what is kept is shown, and its kind where there is no message"
    assert str(shown) != ""


HELD = [
    ("perform new.content_text::regclass;", '42P01: relation "..." does not exist'),
    ("perform replace(new.content_text, '-', '')::regclass;", '42P01: relation "..." does not exist'),
    (
        "perform to_tsvector(replace(new.content_text, '-', '')::regconfig, 'x');",
        '42704: text search configuration "..."',
    ),
    ("execute format('insert into %I default values', new.content_text);", '42P01: relation "..." does not exist'),
    ("insert into public.absent default values;", '42P01: relation "public.absent" does not exist (function judge())'),
    ("perform absent_function(1);", "42883: function absent_function(integer) does not exist (function judge())"),
    ("new.absent := 1;", '42703: record "new" has no field "absent" (function judge())'),
    ("execute 'sel ' || new.content_text;", "42601 (function judge())"),
    ("raise undefined_table using message = new.content_text;", "42P01 (function judge())"),
]


@pytest.mark.parametrize(("body", "reason"), HELD)
def test_what_is_said_of_a_fault_of_the_schema(any_inbox: Inbox, body: str, reason: str) -> None:
    """A name that stands in the code is named, since it has to be mended; one that comes out of an event is not."""
    any_inbox.run(TRIGGER.format(body=body))
    any_inbox.insert("e1", content=SECRET)
    batch = any_inbox.batch()
    assert batch.held == 1
    assert str(batch.held_reason).startswith(reason)
    assert SECRET[:6] not in str(batch.held_reason)


def test_a_server_that_speaks_another_language(any_inbox: Inbox) -> None:
    """Nobody knows what is quoted in a message with other letters, so only the kind and the objects are kept."""
    fault = "('22P02', %s, %s, '', '', '', '')::router.fault"
    context = "PL/pgSQL-Funktion judge() Zeile 3 bei PERFORM"
    for message in ("ung\u00fcltige Eingabe: \u00bbsecret\u00ab", "syntaxe invalide : \u00ab secret \u00bb"):
        kind = any_inbox.value(f"select router.kind_of({fault})", message, context)
        assert kind == "invalid_text_representation (function judge())"


@pytest.mark.parametrize(
    ("code", "kept", "shown"),
    [
        ("P0001", "it says secret", "raise_exception"),
        ("22P02", 'invalid input syntax for type integer: "secret"', "invalid_text_representation"),
        ("23514", "secret violates", "check_violation"),
        ("57014", "takes too long, even alone", "takes too long, even alone"),
        ("22008", "event_date is not a finite time", "event_date is not a finite time"),
        ("MINE1", "secret", "error"),
    ],
)
def test_what_older_versions_have_kept(any_inbox: Inbox, code: str, kept: str, shown: str) -> None:
    """Texts from before the cut are shown as their kind."""
    any_inbox.insert("e1", event_date="infinity")
    any_inbox.batch()
    any_inbox.run("update router.parked_events set error_code = %s, error_message = %s", code, kept)
    assert any_inbox.value("select error_message from router.parked()") == shown


def test_conditions_have_the_names_of_postgres(any_inbox: Inbox) -> None:
    """Each name is the one that PL/pgSQL knows for the SQLSTATE."""
    source = str(any_inbox.value("select prosrc from pg_proc where oid = 'router.condition_of(text)'::regprocedure"))
    pairs = [pair.split("', '") for pair in source.split("('")[1:]]
    assert len(pairs) > 30
    for code, rest in pairs:
        name = rest.split("'")[0]
        with pytest.raises(psycopg.Error) as caught:
            any_inbox.run(f"do $$ begin raise {name}; end $$")
        assert caught.value.sqlstate == code
