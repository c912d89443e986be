"""One small story, from an empty database to routed events, under each of the settings of `cases.py`."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from consumer.config import Settings
from consumer.domain.facts import Fact, ListenerUp, Notified
from consumer.embedded_postgres.server import EmbeddedPostgres
from consumer.service import build
from tests.cli import run
from tests.migrations.databases import OWNER, Database
from tests.settings.cases import CASES, Case
from tests.waiting import await_for

REFUSE_ONE = """
    create function public.refuse() returns trigger language plpgsql as $$
        begin
            if new.provider_message_id = 'bad' then
                raise exception 'refused';
            end if;
            return new;
        end
    $$;
    create trigger refuse before insert on public.messages for each row execute function public.refuse();
    alter table public.messages enable always trigger refuse;
"""
INSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content)
    values ('instagram', 'message', %s, %s, 'Ana', %s)
"""
POLL = 5.0
"""Seconds between polls, for the writer who commits between the last look of a drain and the end of its silence."""


@contextlib.contextmanager
def database_of(case: Case, server: EmbeddedPostgres) -> Iterator[Database]:
    """A new database of the owner of the tables, with the settings of the case."""
    name = f"case_{uuid.uuid4().hex}"
    create = sql.SQL("create database {} owner {} template template0 ").format(
        sql.Identifier(name), sql.Identifier(OWNER)
    )
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        try:
            connection.execute(create + sql.SQL(case.create))  # type: ignore[arg-type,unused-ignore]
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.SyntaxError) as error:
            pytest.skip(str(error))
        database = Database(server=server, name=name)
        try:
            with psycopg.connect(server.dsn(name), autocommit=True) as inside:
                inside.execute(f"alter schema public owner to {OWNER}; {case.before}".encode())
            for setting, value in case.database.items():
                connection.execute(f"alter database {name} set {setting} = {value}".encode())
            for setting, value in case.role.items():
                connection.execute(f"alter role {OWNER} in database {name} set {setting} = {value}".encode())
            yield database
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextlib.asynccontextmanager
async def service_on(dsn: str, *, rings: bool) -> AsyncIterator[None]:
    """The service runs meanwhile, and hears notifications from the beginning; at least one, if there are any."""
    facts: list[Fact] = []
    polls = {"poll_interval": POLL, "reconcile_interval": 600.0} if rings else {"poll_interval": 0.1}
    service = build(
        Settings(database_url=SecretStr(dsn), http_port=0, **polls),  # type: ignore[arg-type]
        observers=[facts.append],
    )
    running = asyncio.create_task(service.run())
    try:

        async def listens() -> bool:
            return running.done() or any(isinstance(fact, ListenerUp) for fact in facts)

        await await_for(listens, what="a listener")
        yield
        assert any(isinstance(fact, Notified) for fact in facts) == rings
    finally:
        service.stop("the story is over")
        await running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_setting_makes_no_difference(
    case: Case, server_with_owner: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrated and found up to date, audited; events are inserted, loaded, routed, parked, retried, and answered."""
    if server_with_owner.major < case.since:
        pytest.skip(f"new in Postgres {case.since}")
    with database_of(case, server_with_owner) as database:
        for name, value in case.environment.items():
            monkeypatch.setenv(name, value)
        dsn = database.owned

        async def said(*command: str) -> str:
            ran = await asyncio.to_thread(run, dsn, *command)
            assert ran.code == 0, (command, ran.err, ran.error)
            return ran.out

        await asyncio.to_thread(migrator.migrate, dsn)
        assert await asyncio.to_thread(migrator.check, dsn) == []
        assert not (await asyncio.to_thread(migrator.migrate, dsn)).changed
        assert [row for row in (await asyncio.to_thread(audit, dsn)).rows if row.required and not row.ok] == []

        async with await psycopg.AsyncConnection.connect(
            database.admin, autocommit=True, client_encoding="utf8", options="-c search_path=public"
        ) as application:
            routed = routed_in(application)
            async with service_on(dsn, rings=case.rings):
                await application.execute(INSERT, ["inserted", "u1", case.text])
                await await_for(routed("inserted"), what="the inserted event")
                lines = tmp_path / "events.ndjson"
                lines.write_text(loaded_line("raw", case.text) + loaded_line("escaped", case.text), encoding="utf-8")
                await said("ingest", str(lines))
                await await_for(routed("loaded escaped", "loaded raw"), what="the loaded events")
                await application.execute(REFUSE_ONE.encode())
                await application.execute(INSERT, ["bad", "u3", case.text])

                async def parked() -> bool:
                    query = "select 1 from webhook_events where event_id = 'bad' and parked_until is not null"
                    return await (await application.execute(query)).fetchone() is not None

                await await_for(parked, what="the event that is refused")
            found = json.loads(await said("parked", "list", "--older-than", "0s", "--json"))
            assert [(event["event_id"], event["error_code"]) for event in found] == [("bad", "P0001")]
            await said("parked", "show", found[0]["id"], "--payload", "--json")
            await application.execute("drop trigger refuse on messages")
            assert json.loads(await said("parked", "retry", "--all", "--json"))["changed"] == 1
            assert json.loads(await said("reconcile", "--json")) == {"routed": 1, "parked": 0}
            now = json.loads(await said("status", "--json"))
            assert (now["ready"], now["parked"], now["dead"]) == (0, 0, 0)

            answer = await application.execute(
                "select ingest_route_analyze(%s, 'message', 'asked', 'u4', 'Ana', %s, now(), '{}') ->> 'message_id'",
                [" INSTAGRAM", "Urgent: I have a problem?"],
            )
            (message,) = await answer.fetchone() or ("",)
            reply = await (await application.execute("select ai_reply_template(%s::uuid)", [message])).fetchone()
            assert reply == (FRENCH if case.accents else FRENCH.translate(str.maketrans("éàÀô", "eaAo")),)
            contents = await application.execute(
                "select provider_message_id, content_text from messages where direction = 'inbound'"
                " and sent_at >= '2026-01-01' and provider_message_id <> 'asked' order by 1"
            )
            assert await contents.fetchall() == [
                (event, case.text) for event in ("bad", "inserted", "loaded escaped", "loaded raw")
            ]
            loaded = await application.execute(
                "select count(*) from messages where sent_at = timestamptz '2026-02-02 22:35:06.7+00'"
            )
            assert await loaded.fetchone() == (2,)


def loaded_line(form: str, text: str) -> str:
    """An event whose text is written as it is, or with escapes."""
    event = {
        "channel": "INSTAGRAM",
        "event_id": f"loaded {form}",
        "author_id": "u2",
        "content": text,
        "event_date": "2026-02-03T04:05:06.7+05:30",
    }
    return json.dumps(event, ensure_ascii=form == "escaped") + "\n"


FRENCH = (
    "Bonjour ! Merci pour votre question. Votre demande est transmise en priorité à un membre de notre équipe. "
    "Nous revenons vers vous rapidement. À bientôt !"
)


def routed_in(application: psycopg.AsyncConnection) -> Callable[..., Callable[[], Awaitable[bool]]]:
    """Questions whether these events are routed."""

    def routed(*events: str) -> Callable[[], Awaitable[bool]]:
        async def asked() -> bool:
            query = "select count(*) from webhook_events where event_id = any (%s) and routed_at is not null"
            row = await (await application.execute(query, [list(events)])).fetchone()
            return row == (len(events),)

        return asked

    return routed
