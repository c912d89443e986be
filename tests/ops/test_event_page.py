"""/event: what became of an event, found by any id, told in the words of `explain`."""

import html
import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import psycopg
import pytest

from consumer.domain.providers.lines import subject_of
from tests.browser import PHONE, Visitor, axe, fits
from tests.integration.test_explain_command import EVENT, REFUSE
from tests.processes import Router
from tests.waiting import wait_for

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}\x1b[2J\u202e` & 100% é\ud7ff"


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its source, and the words that it shows."""

    status: int
    source: str
    words: str


def shown(service: Router, **query: str) -> Shown:
    """Nothing that a person wrote, and no name, is on any of these pages."""
    status, source = service.get(f"/event?{urlencode(query)}")
    main = source.partition("<main")[2]
    words = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", main)).split())
    assert "secret text" not in words
    assert "Secret Name" not in words
    return Shown(status, source, words)


def story(service: Router, state: str, **query: str) -> str:
    """The words of a page that shows one event in this state, at last."""
    badge = re.compile(rf'<span class="badge [a-z]+">{state}</span>')
    wait_for(lambda: badge.search(shown(service, **query).source), what=f"{query} to be {state}")
    return shown(service, **query).words


def one(connection: psycopg.Connection, statement: str, *values: object) -> str:
    """The only value."""
    row = connection.execute(statement.encode(), values).fetchone()
    assert row is not None
    return str(row[0])


def test_a_routed_event_and_what_became_of_it(service: Router, connection: psycopg.Connection) -> None:
    """Found by each id; its delivery, its message, and what came later stand in the order of time."""
    assert "Search" in shown(service).words
    connection.execute(EVENT, ["instagram", "e1"])
    words = story(service, "routed", channel="instagram", text=" e1 ")
    assert "stored as a message of instagram" in words
    assert re.search(r"routed [0-9. s]+ after it was stored, by the ", words)
    assert "its message is in the conversation above" in words
    event = one(connection, "select id from public.webhook_events")
    message, conversation, contact = connection.execute(
        "select id::text, conversation_id::text, contact_id::text from public.messages"
    ).fetchone() or ("", "", "")
    for text in ("e1", event, message, conversation, contact, "secret author"):
        found = shown(service, text=text).words
        assert f"conversation {conversation} (open)" in found, text
        assert f"message {message}" in found
    connection.execute(
        "insert into public.message_delivery (message_id, status, sent_at, failed_at, errors) "
        'values (%s, \'failed\', now(), now(), \'[{"code": 131047, "title": "secret text"}]\')',
        [message],
    )
    connection.execute(
        "insert into router.waiting (channel, atom_id, kind, target, effect, expires_at) "
        "values ('instagram', 'a', 'edit', 'e1', '{\"text\": \"secret text\"}', now() + interval '1 day')"
    )
    connection.execute(
        "insert into router.deliveries (provider, received_at, body, digest, subjects, processed_at) "
        "select 'messenger', created_at - interval '1 s', 'secret text', '', %s, now() from public.webhook_events",
        [[subject_of("instagram", "e1")]],
    )
    connection.execute(
        'update public.messages set content_text = null, metadata = \'{"deleted_at": "2099-01-01T00:00:00Z"}\''
    )
    words = shown(service, channel="instagram", event_id="e1").words
    steps = (
        "received in delivery 1 of messenger, in effect",
        "stored as",
        " after it was stored",
        "accepted by its provider",
        "failed code 131047",
        "edit waits until its message is there",
        "deleted by its author",
    )
    places = [words.index(step) for step in steps]
    assert places == sorted(places), words
    connection.execute("delete from public.webhook_events")
    assert "But a message has its id, see above" in story(service, "unknown", text="e1")


def test_events_that_are_not_routed(service: Router, connection: psycopg.Connection) -> None:
    """Parked, dead, discarded: with the error, a command, and a link to where it can be tried again."""
    connection.execute(REFUSE)
    connection.execute(EVENT, ["whatsapp", "e1"])
    words = story(service, "parked", channel="whatsapp", text="e1")
    assert re.search(r"parked after attempt \d+: RF001: ", words)
    assert "next attempt" in words
    event = one(connection, "select id from public.webhook_events")
    source = shown(service, channel="whatsapp", event_id="e1").source
    assert f"<code>webhook-router parked retry {event}</code>" in source
    assert f'href="parked?id={event}"' in source
    (back,) = re.findall(r'href="(event\?[^"]*)"', service.get(f"/parked?id={event}")[1])
    assert "parked after attempt" in re.sub("<[^>]*>", "", service.get(f"/{html.unescape(back)}")[1])
    connection.execute("update public.webhook_events set parked_until = 'infinity'")
    assert "no attempt is left" in story(service, "dead", text="secret author")
    connection.execute("update router.parked_events set discarded_at = now()")
    assert "discarded by an operator" in story(service, "discarded", text=event)
    # Held: it stays ready, and so do others; several are a list, the latest first, with a link to each.
    connection.execute(
        "create or replace function public.refuse() returns trigger language plpgsql as "
        "'begin new.missing := 1; return new; end'"
    )
    for event_id in ("e2", "e 3&?#/é", ""):
        connection.execute(EVENT, ["whatsapp", event_id])
    assert "It waits to be routed." in story(service, "ready", channel="whatsapp", text="e2")
    several = shown(service, text="secret author")
    assert "4 found" in several.words
    for event_id in ("e2", "e 3&?#/é"):
        (link,) = re.findall(rf'href="(event\?[^"]*)">{re.escape(html.escape(event_id))}<', several.source)
        assert "It waits to be routed." in html.unescape(
            re.sub("<[^>]*>", " ", service.get(f"/{html.unescape(link)}")[1])
        )


def test_what_is_not_there(service: Router, connection: psycopg.Connection) -> None:
    """One is told what that means; with a channel what `explain` says, without one of all channels."""
    anywhere = shown(service, text="nobody")
    assert anywhere.status == 200
    assert "has this event_id, in any channel. The table is empty." in anywhere.words
    assert "Nothing here has this id" in anywhere.words
    connection.execute(EVENT, ["facebook", "e1"])
    elsewhere = shown(service, channel="tiktok", text="e1")
    assert "<code>webhook-router explain facebook e1</code>" in elsewhere.source
    connection.execute("insert into router.deleted_messages (subject) values (%s)", [subject_of("telegram", "gone")])
    assert "of telegram unknown" in shown(service, text="gone").words
    assert "so its text is stored nowhere any more" in shown(service, text="gone").words


def test_what_cannot_be_asked_for(service: Router) -> None:
    """A mistake is named, nothing fails, and what was typed stays in the box."""
    for query, said in (
        ({"text": "x" * 513}, "has 513 characters"),
        ({"text": "a\nb"}, "has control characters"),
        ({"text": "a\0b"}, "is not Unicode text"),
        ({"channel": "instagram", "event_id": "a\0b"}, "is not Unicode text"),
        ({"channel": "sms", "text": "e1"}, "There is no channel sms. There are: facebook, instagram"),
        ({"channel": "c" * 65, "text": "e1"}, "The channel has 65 characters"),
        ({"channel": "\x1b[2J", "text": "e1"}, "The channel has control characters"),
    ):
        answer = shown(service, **query)
        assert answer.status == 400, query
        assert said in answer.words, query
        assert 'role="alert"' in answer.source
    for path in (
        "?text=%ED%A0%80",
        "?text=%FF%FE",
        "?text=%",
        "?event_id=e1",
        "?channel=&id=%20",
        f"?text={quote('é' * 512)}",
    ):
        status, source = service.get(f"/event{path}")
        assert status in {200, 400}, path
        assert "Traceback" not in source


def test_what_strangers_chose_does_nothing(service: Router, connection: psycopg.Connection) -> None:
    """Ids, names, channels' errors and triggers are written by others: all of it is text on the page."""
    connection.execute(
        "create function public.refuse() returns trigger language plpgsql as $$ begin "
        "raise exception '<script>alert(3)</script>' using errcode = 'RF001'; end $$;"
        'create trigger "<script>alert(4)</script>" before insert on public.messages '
        "for each row execute function public.refuse()"
    )
    for event_id in (HOSTILE, HOSTILE + "2"):
        connection.execute(
            "insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date) "
            "values ('instagram', 'message', %s, %s, %s, %s, now())",
            [event_id, "author", HOSTILE, HOSTILE],
        )
    story(service, "parked", channel="instagram", event_id=HOSTILE)
    pages = [
        shown(service, channel="instagram", event_id=HOSTILE),
        shown(service, text="author"),
        shown(service, channel=HOSTILE[:20], text=HOSTILE[:20]),
        shown(service, channel="tiktok", event_id=HOSTILE),
    ]
    connection.execute("update public.webhook_events set routed_at = now(), parked_until = null")
    pages.append(shown(service, channel="instagram", event_id=HOSTILE))
    assert "2 found" in pages[1].words
    assert "{{ 7 * 7 }}" in pages[0].words
    for page in pages:
        assert not re.search(r"<script>|<img src=x|\x1b|\u202e", page.source), page.source
    assert "Triggers that may do so: <script>alert(4)</script>" in pages[-1].words


@pytest.fixture
def routed(service: Router, connection: psycopg.Connection) -> str:
    """The id of an event that is in the inbox."""
    connection.execute(EVENT, ["instagram", "e1"])
    story(service, "routed", text="e1")
    return "e1"


async def test_with_the_keyboard_alone(visit: Visitor, service: Router, routed: str) -> None:
    """Type, Enter: the story. On a phone it fits, and neither page has a barrier."""
    page = await visit(service.address + "/event")
    await axe(page)
    await page.keyboard.type(routed)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="What to do").wait_for()
    assert "text=e1" in page.url
    assert await page.locator("dd", has_text="stored").count() >= 1
    assert await page.locator("time[title]").count() >= 3
    await axe(page)
    await fits(page)
    phone = await visit(page.url, size=PHONE, scheme="dark")
    await axe(phone)
    await fits(phone)
