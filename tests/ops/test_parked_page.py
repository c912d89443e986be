"""/parked: what could not be routed, why, and what becomes of it."""

import asyncio
import contextlib
import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from uuid import UUID, uuid4

import aiohttp
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from consumer.adapters.postgres.desk import Desk
from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.web.ops.parked import PAGE, parked
from consumer.adapters.web.ops.site import Site
from consumer.adapters.web.server import HttpListener
from consumer.domain.facts import Fact, ParkedDecided
from consumer.domain.parked import Decision
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import run
from tests.deploy.service_login import made

Connection = psycopg.Connection[TupleRow]

HOSTILE = (
    "<script>document.title='owned'</script>\"'`\u202e\u2066javascript:alert(1)\\u0000 <img src=x onerror=alert(1)>"
)
JUDGE = """
    create function public.judge() returns trigger language plpgsql as $$
    begin
        if new.content_text like 'bad%' then raise exception 'refused' using errcode = 'RF001'; end if;
        return new;
    end $$;
    create trigger judge before insert on public.messages for each row execute function public.judge()
"""
EVENTS = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date,
                                       raw_payload)
    select %(channel)s, 'message', %(name)s || i, 'secret author', 'Secret Name', %(content)s, %(date)s::timestamptz,
           '{"secret": [12345678901234567890123, "\\u202e<script>"]}'
    from generate_series(1, %(events)s) i
"""
ROUTE = "select router.route_batch(10000)"


def park(
    connection: Connection, name: str, events: int = 1, *, channel: str = "instagram", date: str = "infinity"
) -> list[str]:
    """Has events fail, which have this name and a number; returns their ids. With a date it is the trigger's fault."""
    values = {"name": name, "events": events, "channel": channel, "date": date, "content": "bad secret"}
    connection.execute(EVENTS, values)
    connection.execute(ROUTE)
    found = connection.execute(
        "select id::text from webhook_events where starts_with(event_id, %s) order by created_at, event_id", [name]
    ).fetchall()
    return [known_as for (known_as,) in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request has got."""

    status: int
    headers: Mapping[str, str]
    text: str


class Asking:
    """Asks the pages, which no service is behind."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address
        self.woken = 0
        self.facts: list[Fact] = []
        """How often events have become due."""

    async def get(self, path: str) -> Answer:
        """As a desk."""
        async with self._session.get(path, headers={"Accept": "text/html"}) as answer:
            return Answer(status=answer.status, headers=answer.headers, text=await answer.text())

    async def act(self, fields: Sequence[tuple[str, str]] | bytes, *, kind: str | None = None) -> Answer:
        """As static/parked.js; `kind` is what else the body says that it is."""
        headers = {"X-Webhook-Router": "1", "Origin": self._address} | ({"Content-Type": kind} if kind else {})
        async with self._session.post("/parked", data=fields, headers=headers) as answer:
            return Answer(status=answer.status, headers=answer.headers, text=await answer.text())

    async def counted(self, fields: Sequence[tuple[str, str]]) -> dict[str, str]:
        """What the page asks before an action."""
        async with self._session.get("/parked-count", params=fields) as answer:
            text = await answer.text()
            assert answer.status == 200, text
        return {name: str(value) for name, value in json.loads(text).items()}


@contextlib.asynccontextmanager
async def pages(dsn: str, *, actions: bool = True) -> AsyncIterator[Asking]:
    """The pages, at a real listener, over a real database."""
    asking: list[Asking] = []

    def woken() -> None:
        asking[0].woken += 1

    def told(fact: Fact) -> None:
        asking[0].facts.append(fact)

    site = Site(title="test", actions=actions, observer=told)
    routes = parked(site, desk=Desk(dsn, call_timeout=30.0), retried=woken, observer=told)
    listener = HttpListener(host="127.0.0.1", port=0, routes=[*site.routes(), *routes], advice="")
    address = await listener.start()
    try:
        async with aiohttp.ClientSession(address) as session:
            asking.append(Asking(session, address))
            yield asking[0]
    finally:
        await listener.stop()


def shown(answer: Answer) -> list[str]:
    """The ids of the events of a page."""
    assert answer.status == 200, answer.text
    return re.findall(r'<a href="parked\?id=([0-9a-f-]{36})"', answer.text)


def link(answer: Answer, text: str) -> str:
    """Where the link with this text goes."""
    found = re.search(rf'<a href="([^"]*)"[^>]*>(?:<code>[^<]*</code> )?{re.escape(text)}', answer.text)
    assert found, answer.text
    return "/" + unescape(found[1])


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def service_login(database: str) -> Iterator[str]:
    """The DSN of a login with the service's rights."""
    with made(database) as (_, dsn):
        yield dsn


async def test_the_list_is_grouped_filtered_and_paged(database: str, connection: Connection) -> None:
    """Numbers by error, a link each to its events; filters narrow both; pages show each event once, latest first."""
    connection.execute(JUDGE)
    many = park(connection, "endless", PAGE + 5)
    connection.execute("update router.parked_events set first_parked_at = now() - interval '2 days'")
    (refused,) = park(connection, "refused", channel="whatsapp", date="2026-01-01")
    async with pages(database) as desk:
        first = await desk.get("/parked")
        assert f"{PAGE + 6} events" in first.text
        assert "raise_exception" not in first.text
        assert "error (function judge())" in first.text
        assert "ecret" not in first.text
        second = await desk.get(link(first, "Earlier ones"))
        assert len(shown(first)) == PAGE
        assert shown(first)[0] == refused
        assert sorted(shown(first) + shown(second)) == sorted([*many, refused])
        assert "Earlier ones" not in second.text
        assert shown(await desk.get(link(second, "The latest"))) == shown(first)
        group = link(first, "error (function judge())")
        assert shown(await desk.get(group)) == [refused]
        for query, ids in {
            "channel=WhatsApp": [refused],
            "error=RF": [refused],
            "error=22008&channel=whatsapp": [],
            "newer=1d": [refused],
            "older=3d": [],
            "older=1d&newer=3d&state=dead": [],
            "state=waiting&newer=1h": [refused],
            "state=discarded": [],
        }.items():
            narrowed = await desk.get(f"/parked?{query}")
            assert shown(narrowed) == ids, query
            assert ("Nothing is parked that has" in narrowed.text) == (not ids)


async def test_an_event_and_what_was_written(database: str, connection: Connection, service_login: str) -> None:
    """Everything but what somebody wrote; that as well when it is asked for, where the login may read it."""
    (event,) = park(connection, "endless")
    async with pages(database) as desk:
        answer = await desk.get(f"/parked?id={event}")
        assert answer.headers["Cache-Control"] == "no-store"
        assert "event_date is not a finite time" in answer.text
        assert "Show what was written" in answer.text
        assert "ecret" not in answer.text
        assert "event?channel=instagram&amp;event_id=endless1" in answer.text
        asked_for = await desk.get(f"/parked?id={event}&written=1")
        assert asked_for.headers["Cache-Control"] == "no-store"
        for written in (
            "secret author",
            "Secret Name",
            "bad secret",
            "12345678901234567890123",
            "\\u202e&lt;script&gt;",
        ):
            assert written in asked_for.text
        connection.execute("update webhook_events set raw_payload = jsonb_build_object('long', repeat('x', 300000))")
        assert "The beginning; all of it" in (await desk.get(f"/parked?id={event}&written=1")).text
        missing = await desk.get("/parked?id=00000000-0000-0000-0000-000000000000")
        assert (missing.status, "is not parked (any more)" in missing.text) == (404, True)
    async with pages(service_login) as desk:
        assert shown(await desk.get("/parked")) == [event]
        for more in ("", "&written=1"):
            refused = await desk.get(f"/parked?id={event}{more}")
            assert refused.status == 200
            assert "ecret" not in refused.text
            assert "Show what was written" not in refused.text
    command = re.search(r"<code>(webhook-router parked show [^<]*)</code>", refused.text)
    assert command
    done = await asyncio.to_thread(run, database, *command[1].split()[1:])
    assert done.out.count("secret author") == 1


async def test_decisions_are_counted_before_and_told_after(service_login: str, connection: Connection) -> None:
    """By id, and of a filter: no more than were named, and nothing that has come since; a retry wakes the sweep."""
    connection.execute(JUDGE)
    ids = park(connection, "endless", 4)
    async with pages(service_login) as desk:
        chosen = [("id", known_as) for known_as in ids[:3]]
        asked = await desk.counted([("do", "discard"), *chosen])
        assert asked["said"] == "They stay in the table, untried; a retry takes this back."
        told = await desk.act([("do", "discard"), *chosen[:2]])
        assert told.text == '{"said": "2 events will not be tried any more."}'
        assert desk.woken == 0
        told = await desk.act([("do", "retry"), *chosen])
        assert told.text == '{"said": "3 events are tried again at the next sweep."}'
        assert desk.woken == 1
        assert desk.facts == [
            ParkedDecided(decision=Decision.DISCARD, events=2),
            ParkedDecided(decision=Decision.RETRY, events=3),
        ]
        connection.execute("delete from webhook_events where id = any(%s)", [ids[:2]])
        asked = await desk.counted([("do", "retry"), *chosen])
        assert asked["said"] == (
            "It is tried at the next sweep, as if it had never failed. "
            "Of those that were chosen 2 are not parked any more."
        )
        told = await desk.act([("do", "retry"), *chosen])
        assert told.text == (
            '{"said": "0 events are tried again at the next sweep; 1 was due already; '
            '2 are not parked any more, or not so."}'
        )
        assert desk.woken == 1

        all_of_it = [("do", "discard"), ("all", "1"), ("error", "22"), ("older", "0s")]
        asked = await desk.counted(all_of_it)
        assert asked["events"] == "2"
        assert asked["said"].endswith("What is parked from now on is not among them.")
        later = park(connection, "later", 2)
        park(connection, "other", date="2026-01-01")
        told = await desk.act([*all_of_it, ("as_of", asked["as_of"]), ("events", asked["events"])])
        assert told.text == '{"said": "2 events will not be tried any more."}'
        left = connection.execute("select event_id::text from router.parked_events where discarded_at is null")
        assert set(later) < {known_as for (known_as,) in left}
        asked = await desk.counted([*all_of_it[:2], ("channel", "tiktok")])
        assert (asked["events"], asked["said"]) == ("0", "No event is parked that has all of this.")


async def test_logins_that_may_not_ask(database: str, connection: Connection) -> None:
    """Whose rights are missing, or too many, is said in words, on a page and to an action."""
    (event,) = park(connection, "endless")
    connection.execute("create role stranger login password 'stranger'")
    connection.execute("create role owner_of_it nologin")
    try:
        async with pages(make_conninfo(database, user="stranger", password="stranger")) as desk:
            for answer in (await desk.get("/parked"), await desk.act([("do", "retry"), ("id", event)])):
                assert answer.status == 500
                assert "permission denied for schema router" in answer.text
        connection.execute("grant usage, create on schema router to owner_of_it")
        connection.execute("alter function router.retry_parked owner to owner_of_it")
        async with pages(database) as desk:
            answer = await desk.act([("do", "retry"), ("id", event)])
            assert answer.status == 500
            assert answer.text.startswith('a superuser must not do this: code of "owner_of_it"')
    finally:
        connection.execute("drop owned by owner_of_it cascade")
        connection.execute("drop role owner_of_it, stranger")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_databases_of_other_encodings(postgres_server: EmbeddedPostgres, encoding: str) -> None:
    """What is no text is shown as far as it is; a filter that such a database cannot hold is refused in words."""
    name = f"encoded_{uuid4().hex}"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        admin.execute(
            f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'".encode()
        )
        try:
            dsn = postgres_server.dsn(name)
            migrator.migrate(dsn)
            with psycopg.connect(dsn, autocommit=True, client_encoding=encoding) as connection:
                connection.execute(
                    b"insert into webhook_events (channel, type, event_id, content, event_date)"
                    b" values ('instagram', 'message', 'caf\xe9', '\xff\xfe', 'infinity')"
                )
                connection.execute(ROUTE)
            async with pages(dsn) as desk:
                (event,) = shown(await desk.get("/parked"))
                assert (await desk.get(f"/parked?id={event}&written=1")).status == 200
                answer = await desk.get("/parked?channel=%F0%9F%98%80")
                assert answer.status == (400 if encoding == "LATIN1" else 200), answer.text
                told = await desk.act([("do", "retry"), ("id", event)])
                assert told.text == '{"said": "1 event is tried again at the next sweep."}'
        finally:
            admin.execute(f"drop database {name} with (force)".encode())


async def test_who_may_not_act_is_shown_a_command(database: str, connection: Connection) -> None:
    """Without actions there are no buttons, calls are refused, and the commands of the page do what it does not."""
    (event,) = park(connection, "it's odd ")
    query = urlencode({"error": "22008", "message": "event_date is not a finite time", "channel": "instagram"})
    async with pages(database, actions=False) as desk:
        for path in (f"/parked?{query}", f"/parked?id={event}"):
            answer = await desk.get(path)
            assert not re.search(r"<button(?! class=\"quiet\")[^>]*data-do|checkbox", answer.text)
            commands = [
                unescape(found) for found in re.findall(r"<code>(webhook-router parked [rd][^<]*)", answer.text)
            ]
            assert len(commands) == 2
            for command in commands:
                done = await asyncio.to_thread(run, database, *shlex.split(command)[1:])
                assert done.out.startswith("1 event")
        answer = await desk.act([("do", "retry"), ("id", event)])
        assert answer.status == 403
        assert "OPS_ACTIONS" in answer.text
        assert desk.woken == 0


VALUES = re.compile(r' value="[^"]*"')
"""Of fields, which hold what was given, to be sent again as it is."""
MEANINGLESS = [
    "older=soon",
    "newer=999999999w",
    "error=2",
    f"error={quote(HOSTILE)}",
    f"state={quote(HOSTILE)}",
    "channel=%00",
    "channel=%ED%B2%80&error=zzz",
    "message=a%00b",
    "before=2026-01-01&before_id=x",
    "before=yesterday",
    "before_id=00000000-0000-0000-0000-000000000000",
    "before=2026-01-01T00:00:00&before_id=00000000-0000-0000-0000-000000000000",
    f"id={quote(HOSTILE)}",
    "id=",
    "chanel=whatsapp",
    f"state=dead&{quote(HOSTILE)}=1",
]


@pytest.mark.parametrize("query", MEANINGLESS)
async def test_addresses_that_mean_nothing(query: str) -> None:
    """400 and what is wrong, before anything is asked of the database; what is quoted does nothing."""
    async with pages("postgresql://127.0.0.1:1/nowhere") as desk:
        answer = await desk.get(f"/parked?{query}")
        assert answer.status == 400, answer.text
        assert re.search(r'role="alert"[^>]*>[^<]+</p>', answer.text)
        for never in ("<script>d", "<img src=x", "\u202e"):
            assert never not in VALUES.sub("", answer.text)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "do is missing: retry or discard"),
        ([("do", "drop"), ("all", "1")], "'drop' is none of retry, discard"),
        ([("do", "retry")], "say which"),
        ([("do", "retry"), ("all", "1"), ("id", "1")], "say which"),
        ([("do", "retry"), ("id", "javascript:alert(1)")], "is no id of a parked event"),
        ([("do", "retry"), *[("id", "x")] * 501], "no more than 500 ids"),
        ([("do", "retry"), ("all", "1")], "as_of and events are missing"),
        ([("do", "retry"), ("all", "1"), ("as_of", "2026-01-01T00:00:00+00:00")], "as_of and events are missing"),
        ([("do", "retry"), ("all", "1"), ("as_of", "now"), ("events", "1")], "as_of: "),
        ([("do", "retry"), ("all", "1"), ("as_of", "2026-01-01T00:00:00+00:00"), ("events", "-1")], "no number"),
        ([("do", "retry"), ("all", "1"), ("older", "soon")], "'soon' is no duration"),
        ([("do", "retry"), ("all", "1"), ("channel", "\0")], "no text in a database"),
        (
            [("do", "retry"), ("all", "1"), ("chanel", "whatsapp")],
            "'chanel' is none of do, as_of, events, all",
        ),
        ([("do", "retry"), ("id", str(UUID(int=1))), ("channel", "x")], "'channel' is none of do, as_of, events, id"),
    ],
)
async def test_actions_that_mean_nothing(fields: list[tuple[str, str]], said: str) -> None:
    """400 and what is wrong, before anything is asked of the database."""
    async with pages("postgresql://127.0.0.1:1/nowhere") as desk:
        answer = await desk.act(fields)
        assert (answer.status, desk.woken) == (400, 0)
        assert said in answer.text


async def test_actions_that_are_no_form() -> None:
    """400, and nothing that the log would have a line about."""
    async with pages("postgresql://127.0.0.1:1/nowhere") as desk:
        for kind in ("application/x-www-form-urlencoded; charset=none", "multipart/form-data"):
            answer = await desk.act(b"do=retry", kind=kind)
            assert (answer.status, answer.text, desk.facts) == (400, "this is no form\n", [])


def make_hostile(connection: Connection) -> str:
    """A parked event in which everything that strangers, or whoever changes tables, may choose is hostile; its id."""
    for constraint in ("channel", "type"):
        connection.execute(
            f"alter table webhook_events drop constraint if exists webhook_events_{constraint}_check".encode()
        )
    (event,) = park(connection, "endless")
    connection.execute(
        "update webhook_events set channel = %(h)s, type = %(h)s, event_id = %(h)s || repeat('x', 9000),"
        " author_id = %(h)s, author_name = %(h)s, content = %(h)s || E'\\r\\n\\x1b' || %(h)s, post_id = %(h)s,"
        " raw_payload = jsonb_build_object(%(h)s::text, %(h)s::text), "
        " event_date = '4000-01-01 BC', created_at = 'infinity'",
        {"h": HOSTILE},
    )
    connection.execute(
        "update router.parked_events set channel = %(h)s, error_code = '22008',"
        " error_message = 'datetime_field_overflow: ' || %(h)s || repeat(' y', 5000) || repeat('z', 5000)",
        {"h": HOSTILE},
    )
    return event


async def test_hostile_texts_over_http(database: str, connection: Connection) -> None:
    """Neither an element nor a mark of theirs is in a page; their links lead to what they name."""
    hostile = make_hostile(connection)
    async with pages(database) as desk:
        for path in (
            "/parked",
            f"/parked?id={hostile}",
            f"/parked?id={hostile}&written=1",
            f"/parked?channel={quote(HOSTILE)}",
        ):
            answer = await desk.get(path)
            assert answer.status == 200, answer.text
            for never in ("<script>d", "<img src=x", "\u202e", "\u2066", "\x1b", 'href="javascript'):
                assert never not in VALUES.sub("", answer.text), path
        story = unescape(re.findall(r'href="(event\?[^"]*)"', (await desk.get("/parked")).text)[0])
        assert parse_qs(urlsplit(story).query)["channel"] == [HOSTILE]
        group = await desk.get(link(await desk.get("/parked"), "&lt;script&gt;"))
        assert shown(group) == [hostile]
        discarded = await desk.act([("do", "discard"), ("id", hostile)])
        assert discarded.status == 200
