"""Triggers, rules and columns of the application that change, refuse or move what routing writes.

Events are routed all the same: each application lives with functions that work row by row and go on with what was
stored, so it must live with ours.
"""

from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tests.sql.inbox import Inbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What an application has on its tables, and what is there after `deliver`."""

    name: str
    ddl: str
    contacts: int = 2
    channels: int = 2
    conversations: int | None = 2  # None: as many as the application makes of it
    messages: int = 4
    events: int = 4
    extension: str = "plpgsql"  # that the server must have
    messages_are_known: bool = True  # a call tells the id of an event's message
    finds: str = field(default="select true as holds")  # more that must hold

    @property
    def counts(self) -> dict[str, int | None]:
        """By table."""
        return {
            "contacts": self.contacts,
            "contact_channels": self.channels,
            "conversations": self.conversations,
            "messages": self.messages,
            "webhook_events": self.events,
        }


def trigger(table: str, body: str, *, when: str = "before insert", name: str = "hostile", declare: str = "") -> str:
    """DDL of a row trigger."""
    return f"""
    create function public.{name}_{table}() returns trigger language plpgsql as $$ {declare} begin {body} end $$;
    create trigger {name} {when} on {table} for each row execute function public.{name}_{table}();
    """


APPLICATIONS = [
    Application(name="none", ddl="select"),
    # People
    Application(
        name="external-id-normalised",
        ddl=trigger("contact_channels", "new.external_id := '+' || new.external_id; return new;"),
        finds="select bool_and(external_id like '+a_') as holds from contact_channels",
    ),
    Application(
        name="two-ids-of-one-person",
        ddl=trigger("contact_channels", "new.external_id := 'everybody'; return new;"),
        contacts=1,
        channels=1,
        conversations=1,
    ),
    Application(
        name="channel-of-a-person-mapped",
        ddl=trigger("contact_channels", "new.channel := 'other'; return new;"),
    ),
    Application(
        name="channel-led-to-a-known-contact",
        ddl="insert into contacts (full_name) values ('Known');"
        + trigger(
            "contact_channels",
            "new.contact_id := (select id from contacts where full_name = 'Known'); return new;",
        ),
        contacts=1,
        conversations=1,
    ),
    Application(
        name="channel-kept-out",
        ddl=trigger("contact_channels", "return null;"),
        contacts=4,
        channels=0,
        conversations=4,
    ),
    Application(
        name="contacts-with-keys-of-their-own",
        ddl=trigger("contacts", "new.id := gen_random_uuid(); return new;"),
    ),
    Application(
        name="channels-with-keys-of-their-own",
        ddl=trigger("contact_channels", "new.id := gen_random_uuid(); return new;"),
    ),
    Application(
        name="channel-asks-for-its-contact",
        ddl=trigger(
            "contact_channels",
            """
            if not exists (select from contacts where id = new.contact_id) then raise 'whose channel is this?'; end if;
            new.metadata := jsonb_build_object('name', (select full_name from contacts where id = new.contact_id));
            return new;
            """,
        ),
        finds="select bool_and(metadata ->> 'name' like 'Name %') as holds from contact_channels",
    ),
    Application(
        name="contacts-merged-afterwards",
        ddl="insert into contacts (full_name) values ('Known');"
        + trigger(
            "contact_channels",
            """
            update contact_channels set contact_id = (select id from contacts where full_name = 'Known')
            where id = new.id;
            delete from contacts where id = new.contact_id;
            return null;
            """,
            when="after insert",
        ),
        contacts=1,
        conversations=1,
    ),
    Application(
        name="contacts-merged-afterwards-row-by-row",
        ddl="insert into contacts (full_name) values ('Known');"
        + trigger("contacts", "new.locale := 'fr'; return new;")
        + trigger(
            "contact_channels",
            """
            update contact_channels set contact_id = (select id from contacts where full_name = 'Known')
            where id = new.id;
            delete from contacts where id = new.contact_id;
            return null;
            """,
            when="after insert",
        ),
        contacts=1,
        conversations=1,
    ),
    Application(
        name="rule-on-channels",
        ddl="create table log (entry text);"
        "create rule hostile as on insert to contact_channels do also insert into log values (new.external_id)",
    ),
    Application(
        name="rules-on-updates",
        ddl="create table log (entry text);"
        "create rule hostile as on update to contact_channels do also insert into log values (new.external_id);"
        "create rule hostile as on update to contacts do also insert into log values (new.full_name);"
        "create rule hostile as on update to conversations do also insert into log values (new.status);"
        "create rule hostile as on insert to messages do also insert into log values (new.direction)",
    ),
    Application(
        name="deferrable-keys",
        ddl="alter table contact_channels drop constraint contact_channels_channel_external_id_key;"
        "alter table contact_channels add unique (channel, external_id) deferrable",
    ),
    Application(
        name="citext-ids",
        extension="citext",
        ddl="create schema extensions; create extension citext schema extensions;"
        "alter table contact_channels alter column external_id type extensions.citext",
    ),
    # Names
    Application(
        name="names-shouted",
        ddl=trigger(
            "contact_channels",
            "new.display_name := upper(new.display_name); return new;",
            when="before insert or update",
        ),
    ),
    Application(
        name="names-never-change",
        ddl=trigger("contact_channels", "raise 'channels never change';", when="before update"),
        finds="select bool_and(display_name like 'Name %') as holds from contact_channels",
    ),
    Application(
        name="names-kept-out",
        ddl=trigger("contact_channels", "return null;", when="before update"),
    ),
    Application(
        name="contacts-never-change",
        ddl=trigger("contacts", "raise 'contacts never change';", when="before update"),
    ),
    Application(
        name="short-columns-for-names",
        ddl="alter table contact_channels alter display_name type varchar(8);"
        "create domain short as varchar(6); alter table contacts alter full_name type short",
        finds="select bool_and(display_name = 'Name o' and full_name = 'Name o') as holds"
        " from contact_channels k join contacts c on c.id = k.contact_id",
    ),
    Application(
        name="short-names-by-check",
        ddl="alter table contact_channels add check (length(display_name) < 8)",
        finds="select bool_and(display_name is null) as holds from contact_channels",
    ),
    # Conversations
    Application(
        name="conversations-pending",
        ddl=trigger("conversations", "new.status := 'pending'; return new;"),
        conversations=None,
        finds="select bool_and(status = 'pending') as holds from conversations",
    ),
    Application(
        name="conversations-pending-afterwards",
        ddl=trigger(
            "conversations",
            "update conversations set status = 'pending' where id = new.id; return null;",
            when="after insert",
        ),
        conversations=None,
    ),
    Application(
        name="conversations-of-another-channel",
        ddl=trigger("conversations", "new.channel := 'webchat'; return new;"),
        conversations=None,
    ),
    Application(
        name="conversations-with-keys-of-their-own",
        ddl=trigger("conversations", "new.id := gen_random_uuid(); return new;"),
    ),
    Application(
        name="conversations-without-contact",
        ddl=trigger("conversations", "new.contact_id := null; return new;"),
        conversations=None,
    ),
    Application(
        name="threads-renamed",
        ddl=trigger("conversations", "new.channel_conversation_id := 'x' || gen_random_uuid(); return new;"),
    ),
    Application(
        name="touching-a-conversation-is-refused",
        ddl=trigger("conversations", "return null;", when="before update"),
    ),
    # Messages
    Application(
        name="messages-with-keys-of-their-own",
        ddl=trigger("messages", "new.id := gen_random_uuid(); return new;"),
    ),
    Application(
        name="message-ids-normalised",
        ddl=trigger("messages", "new.provider_message_id := upper('m_' || new.provider_message_id); return new;"),
        finds="select bool_and(provider_message_id like 'M_E_') as holds from messages",
    ),
    Application(
        name="messages-kept-out",
        ddl=trigger("messages", "return null;"),
        messages=0,
        messages_are_known=False,
    ),
    Application(
        name="messages-moved-to-another-conversation",
        ddl=trigger(
            "messages",
            "insert into conversations (channel) values ('other') returning id into new.conversation_id; return new;",
        ).replace("'other'", "'webchat'"),
        conversations=None,
    ),
    # Events
    Application(
        name="event-ids-normalised",
        ddl=trigger("webhook_events", "new.event_id := upper(new.event_id); return new;"),
        finds="select content = 'later' as holds from webhook_events where event_id = 'E1'",
    ),
    Application(
        name="event-channels-mapped",
        ddl=trigger("webhook_events", "new.channel := 'facebook'; return new;"),
        finds="select bool_and(channel = 'facebook') as holds from webhook_events",
    ),
    Application(
        name="events-with-keys-of-their-own",
        ddl=trigger("webhook_events", "new.id := gen_random_uuid(); return new;"),
    ),
    Application(
        name="statement-triggers",
        ddl="create table log (entry text);"
        "create function public.note() returns trigger language plpgsql as"
        " $$ begin insert into log select tg_table_name || count(*) from new_rows; return null; end $$;"
        + "".join(
            f"create trigger note after insert on {table} referencing new table as new_rows"
            " for each statement execute function public.note();"
            for table in ("contacts", "contact_channels", "conversations", "messages", "webhook_events")
        ),
    ),
    Application(
        name="triggers-that-need-extensions",
        ddl="create schema extensions; create function extensions.digest_of(text) returns text language sql"
        " return 'd' || $1; set search_path = public, extensions;"
        + trigger("contact_channels", "new.metadata := to_jsonb(digest_of(new.external_id)); return new;")
        + trigger("messages", "new.metadata := to_jsonb(digest_of(new.content_text)); return new;")
        + trigger("conversations", "new.subject := digest_of(new.status); return new;", when="before insert or update")
        + trigger("webhook_events", "new.raw_payload := to_jsonb(digest_of(new.event_id)); return new;"),
    ),
    Application(
        name="deferred-keys-to-contacts",
        ddl="alter table contact_channels drop constraint contact_channels_contact_id_fkey;"
        "alter table contact_channels add foreign key (contact_id) references contacts on delete cascade"
        " deferrable initially deferred",
    ),
]


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_hostile_application(any_database: str, application: Application) -> None:
    """Single calls, batches, redeliveries, re-opened events, a person's second event: each is routed, and only once."""
    with Inbox(any_database) as inbox:
        if not inbox.column("select true from pg_available_extensions where name = %s", application.extension):
            pytest.skip(f"this server has no {application.extension}")
        inbox.run(application.ddl)
        inbox.run("set statement_timeout = '60s'")
        deliver(inbox, application)
        assert inbox.column("select event_id from webhook_events where routed_at is null") == []
        assert inbox.rows("select error_code, error_message from router.parked_events") == []
        counts = {table: inbox.count(table) for table in application.counts}
        assert {table: n for table, n in counts.items() if application.counts[table] is not None} == {
            table: n for table, n in application.counts.items() if n is not None
        }
        assert inbox.value(application.finds)


def deliver(inbox: Inbox, application: Application) -> None:
    """Four events of two people, in every way there is."""
    name = "Name of {}"
    row = inbox.ingest("e1", author_id="a1", author_name=name.format("a1"))
    first = route(inbox, row)
    assert route(inbox, row) == first
    assert first["conversation_id"]
    assert bool(first["message_id"]) == application.messages_are_known
    inbox.insert("e2", author_id="a1", author_name="Name of another", event_date="2026-01-02 12:00+00")
    inbox.insert("e3", author_id="a2", author_name=name.format("a2"))
    batch = inbox.batch()
    assert (batch.claimed, batch.parked) == (2, 0)
    again = inbox.ingest("e1", author_id="a1", content="later")
    assert (again["id"], again["content"]) == (row["id"], "later")
    made = inbox.count("messages")
    inbox.run("update webhook_events set routed_at = null, conversation_id = null")
    assert inbox.route_unrouted() == 3
    inbox.run("update webhook_events set routed_at = null")
    assert inbox.batch().parked == 0
    assert inbox.count("messages") == made
    assert route(inbox, row)["message_id"] == first["message_id"]
    last = inbox.value(
        "select public.ingest_route_analyze('instagram', 'message', 'e4', 'a1', %s, 'help?', now(), null)",
        name.format("a1"),
    )
    assert last["conversation_id"]
    assert inbox.count("message_analysis") == int(application.messages_are_known)


def route(inbox: Inbox, row: dict[str, Any]) -> dict[str, Any]:
    """Routes the event that a call has stored."""
    answer: dict[str, Any] = inbox.value("select public.route_webhook_event(%s, %s)", row["channel"], row["event_id"])
    return answer


def test_event_without_author(any_inbox: Inbox) -> None:
    """A thread is taken as it was stored, too: whatever became of its key, status and channel."""
    any_inbox.run(
        trigger(
            "conversations",
            "new.channel_conversation_id := null; new.status := 'archived'; new.channel := 'webchat'; return new;",
        )
    )
    for number in range(3):
        any_inbox.insert(f"c{number}", author_id=None, type="comment", post_id="p1")
    assert any_inbox.batch().parked == 0
    assert any_inbox.count("messages") == 3
    assert any_inbox.count("conversations") == 1


def test_contact_that_is_kept_out(any_inbox: Inbox) -> None:
    """Nobody can route the events of a person whose contact is refused; those of others are routed."""
    any_inbox.run(trigger("contacts", "return case when new.full_name = 'Spam' then null else new end;"))
    any_inbox.insert_many(20, authors=5)
    any_inbox.insert("spam", author_id="s", author_name="Spam")
    batch = any_inbox.batch()
    assert (batch.claimed, batch.parked) == (21, 1)
    assert any_inbox.count("contacts") == 5
    assert any_inbox.column("select error_code from router.parked_events") == ["23000"]


def test_events_that_are_kept_out(any_inbox: Inbox) -> None:
    """An event that a trigger drops is no error."""
    any_inbox.run(trigger("webhook_events", "return null;"))
    assert any_inbox.ingest("e1") is None
    answer = any_inbox.value(
        "select public.ingest_route_analyze('instagram', 'message', 'e1', 'a1', null, 'hello', now(), null)"
    )
    assert answer == {"conversation_id": None, "message_id": None}
    assert any_inbox.count("webhook_events") == 0


def test_records_of_events_with_other_keys(any_inbox: Inbox) -> None:
    """The events of a poll are routed with it, under the keys that a trigger has given them."""
    any_inbox.run(trigger("webhook_events", "new.event_id := upper(new.event_id); return new;"))
    lines = [f'{{"channel": "instagram", "event_id": "{key}", "author_id": "a1"}}' for key in ("e1", "e2", "E2", "e3")]
    lines.append('{"channel": "nowhere", "event_id": "e4"}')
    for made in (3, 0):
        answer = any_inbox.row(
            "select (batch).claimed, (batch).inserted, refused from router.ingest_and_route(%s, %s, %s, %s)",
            "\n".join(lines),
            ["instagram"] * 4 + ["nowhere"],
            ["e1", "e2", "E2", "e3", "e4"],
            [False] * 5,
        )
        assert answer == {"claimed": made, "inserted": made, "refused": [5]}
    assert any_inbox.column("select event_id from webhook_events order by 1") == ["E1", "E2", "E3"]


def test_event_that_cannot_be_marked(any_inbox: Inbox) -> None:
    """A trigger that keeps events unrouted is named: otherwise each would be routed again for ever."""
    any_inbox.insert("e1")
    any_inbox.run(trigger("webhook_events", "return null;", when="before update"))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="webhook_events keeps events from being"):
        any_inbox.route("e1")
    assert any_inbox.count("messages") == 0


def test_event_deleted_by_the_application(any_inbox: Inbox) -> None:
    """An application may clear its inbox as soon as there is a message."""
    any_inbox.run(
        trigger(
            "messages",
            "delete from webhook_events where event_id = new.provider_message_id; return null;",
            when="after insert",
        )
    )
    any_inbox.insert_many(10)
    batch = any_inbox.batch()
    assert (batch.claimed, batch.inserted, batch.parked) == (10, 10, 0)
    any_inbox.ingest("e0")
    assert any_inbox.route("e0").message_id


@pytest.mark.parametrize("code", ["RW002", "RW003"])
def test_error_codes_of_ours(any_inbox: Inbox, code: str) -> None:
    """An application that happens to raise our own codes does not make routing go round for ever."""
    any_inbox.insert("e1", author_name="Ann")
    any_inbox.run(trigger("messages", f"raise 'no' using errcode = '{code}';"))
    any_inbox.run("set statement_timeout = '60s'")
    assert any_inbox.batch().parked == 1
    assert any_inbox.column("select error_code from router.parked_events") == [code]


def test_a_name_that_is_refused_alone(any_inbox: Inbox) -> None:
    """One name that a trigger refuses leaves the others as they are."""
    any_inbox.insert_many(5, authors=5)
    any_inbox.batch()
    any_inbox.run(
        trigger(
            "contact_channels",
            "if new.display_name = 'bad' then raise 'bad word'; end if; return new;",
            when="before update",
        )
    )
    for author in range(5):
        name = "bad" if author == 2 else f"new {author}"
        any_inbox.insert(f"n{author}", author_id=f"a{author}", author_name=name, event_date="2026-02-01 12:00+00")
    batch = any_inbox.batch()
    assert (batch.inserted, batch.parked) == (5, 0)
    assert any_inbox.column("select display_name from contact_channels order by external_id") == [
        "new 0",
        "new 1",
        "Name 2",
        "new 3",
        "new 4",
    ]
    assert any_inbox.contact_of("a3")["full_name"] == "new 3"


@pytest.mark.parametrize("created_at", [None, "infinity", "-infinity"])
def test_no_time_at_all(any_database: str, created_at: str | None) -> None:
    """A message of an event with neither a date nor a time of arrival is sent now."""
    with Inbox(any_database) as inbox:
        inbox.run("alter table webhook_events alter created_at drop not null")
        inbox.insert("e1", created_at=created_at, event_date=None)
        inbox.route("e1")
        assert inbox.value("select sent_at > now() - interval '1 hour' from messages")
