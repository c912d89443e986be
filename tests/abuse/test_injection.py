"""SQL and format strings in every argument of every public function, and in every option of the command line."""

import itertools
import json
import uuid

import psycopg
import pytest

from tests.abuse.conftest import Target
from tests.processes import command

PAYLOADS = (
    "'; drop table public.messages; --",
    "' or '1'='1",
    "\\'; drop table public.messages; --",
    "$function$; drop table public.messages; $function$",
    "x'||(select content from public.webhook_events limit 1)||'",
    "%s %I %L %% {0} ${jndi:ldap://x} {{7*7}}",
    "a\nb; drop table public.messages",
    "'; notify webhook_router, 'x'; select pg_sleep(60); --",
    "\u02bc; drop table public.messages; --",
)
FUNCTIONS = """
    select p.proname, array(select format_type(t, null) from unnest(p.proargtypes) t)
    from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prosecdef order by 1
"""
NEUTRAL = {
    "text": "instagram",
    "uuid": str(uuid.UUID(int=9)),
    "jsonb": "{}",
    "integer": "1",
    "timestamp with time zone": "2026-01-31T09:30:00Z",
}


def harm_done(target: Target, before: dict[str, int]) -> bool:
    """Whether a table is gone or emptied."""
    after = target.counts()
    return any(after[table] < count for table, count in before.items())


def test_every_argument_of_every_public_function(target: Target) -> None:
    """Text is taken as it is, or refused; nothing else happens, whatever the caller's own rights."""
    with target.connect("anon") as anon, target.connect() as owner:
        functions = owner.execute(FUNCTIONS).fetchall()
        assert len(functions) == 8
        before = target.counts()
        tried = 0
        for name, types in functions:
            for place, payload in itertools.product(range(len(types)), PAYLOADS):
                arguments = [NEUTRAL[kind] for kind in types]
                arguments[place] = json.dumps({payload: payload}) if types[place] == "jsonb" else payload
                casts = ", ".join(f"%s::{kind}" for kind in types)
                tried += 1
                refused = ""
                try:
                    anon.execute(f"select public.{name}({casts})".encode(), arguments)
                except psycopg.Error as error:
                    refused = str(error.sqlstate)
                assert refused[:2] in {"", "22", "23", "P0"}, (name, place, payload)
        assert tried > 200
        assert not harm_done(target, before)


def test_what_is_taken_is_taken_verbatim(target: Target) -> None:
    """From the function's argument to the inbox, letter by letter."""
    with target.connect("anon") as anon, target.connect() as owner:
        for number, payload in enumerate(PAYLOADS):
            anon.execute(
                "select public.ingest_route_analyze('instagram', 'message', %s, %s, %s, %s, now(), %s::jsonb)",
                (f"{number}{payload}", f"{number}{payload}", payload, payload, json.dumps({"raw": payload})),
            )
            row = owner.execute(
                """select w.event_id, w.author_id, w.author_name, w.content, w.raw_payload ->> 'raw', m.content_text,
                          c.full_name, k.external_id
                   from public.webhook_events w
                   join public.messages m on m.channel = w.channel and m.provider_message_id = w.event_id
                   join public.contacts c on c.id = m.contact_id
                   join public.contact_channels k on k.contact_id = c.id
                   where w.event_id = %s""",
                (f"{number}{payload}",),
            ).fetchone()
            numbered = f"{number}{payload}"
            assert row == (numbered, numbered, payload, payload, payload, payload, payload, numbered)


OPTIONS = (
    ("reconcile", "--limit", "1", "--channel", "{}"),
    ("dead-letters", "list", "--channel", "{}"),
    ("dead-letters", "list", "--error-class", "{}"),
    ("dead-letters", "list", "--older-than", "{}"),
    ("dead-letters", "list", "--newer-than", "{}"),
    ("dead-letters", "list", "--limit", "{}"),
    ("dead-letters", "show", "{}"),
    ("dead-letters", "retry", "{}"),
    ("dead-letters", "discard", "{}"),
    ("ingest", "{}"),
    ("sql", "{}"),
    ("status", "--database-url", "{}"),
)


@pytest.mark.parametrize("arguments", OPTIONS, ids=" ".join)
def test_every_option_of_the_command_line(target: Target, arguments: tuple[str, ...]) -> None:
    """An error in one line, or nothing found; the tables are as they were."""
    before = target.counts()
    payload = PAYLOADS[0]
    given = [argument.replace("{}", payload) for argument in arguments]
    done = command(*given, dsn=target.owner_dsn)
    assert done.returncode in {0, 1, 2}
    assert "Traceback" not in done.stderr
    assert not harm_done(target, before)
