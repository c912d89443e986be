"""Code of the application that has no search_path of its own finds what it names without a schema, whatever fires it.

It is in "public", where nothing of ours looks for anything, or in "extensions".
"""

from tests.sql.inbox import Inbox

TABLES = ("contacts", "contact_channels", "conversations", "messages", "message_analysis", "webhook_events")
# Each trigger function calls one function of each schema and writes to a table by its bare name.
HEARS = """
    create function extensions.shouted(text) returns text language plpgsql as $$ begin return upper($1); end $$;
    create type mood as enum ('GOOD');
    create table heard (entry text, feels mood);
    create function entry_of(text, text, text, text) returns text language plpgsql as
        $$ begin return lower(concat_ws(' ', $1, $2, $3, $4)); end $$;
    create function hear() returns trigger language plpgsql as $$
    begin
        insert into heard values (entry_of(tg_table_name, tg_op, tg_when, tg_level), shouted('good')::mood);
        return new;
    end $$;
    create function language_of_the_house() returns text language plpgsql as
        $$ begin return entry_of('F', 'R', '', ''); end $$;
    alter table contacts alter column locale set default language_of_the_house();
"""


def listen(inbox: Inbox) -> None:
    """Puts triggers of every kind on all tables."""
    inbox.run("create schema if not exists extensions")
    inbox.run(HEARS)
    for table in TABLES:
        for moment in ("before", "after"):
            for level in ("row", "statement"):
                inbox.run(
                    f"create trigger hear_{moment}_{level} {moment} insert or update on public.{table}"
                    f" for each {level} execute function public.hear()"
                )


def test_triggers_of_every_kind_find_their_names(any_database: str) -> None:
    """Before and after, for rows and statements, and the functions of defaults."""
    with Inbox(any_database) as inbox:
        listen(inbox)
        live(inbox)
        assert inbox.column("select event_id from public.webhook_events where routed_at is null") == ["e4"]
        assert inbox.column("select distinct error_code from router.parked_events") == ["23514"]
        assert inbox.column("select distinct locale from public.contacts") == ["f r  "]
        expected = {
            f"{table} {operation} {moment} {level}"
            for table in TABLES
            for operation in ("insert", "update")
            for moment in ("before", "after")
            for level in ("row", "statement")
        }
        # Messages are only made, and who analyses one again writes nothing new.
        never = {entry for entry in expected if entry.startswith("messages update")}
        never |= {f"message_analysis update {moment} row" for moment in ("before", "after")}
        assert expected - set(inbox.column("select entry from heard")) == never


def live(inbox: Inbox) -> None:
    """Has each table written to by each function that does."""
    inbox.run("alter table public.messages add constraint only_good check (content_text <> 'bad')")
    first = inbox.ingest("e1", author_name="One", content="help?")
    inbox.value("select public.route_webhook_event('instagram', 'e1')")
    message = inbox.value("select id from public.messages")
    inbox.value("select public.analyze_message_simple(%s)", message)
    inbox.value("select public.auto_reply_stub(%s)", message)
    assert inbox.ingest("e1", author_name="One", content="once more")["id"] == first["id"]
    inbox.ingest("e2", author_name="Another", event_date="2026-11-01 12:00+00")
    inbox.ingest("e3", author_id="a2", author_name="Two")
    assert inbox.batch().parked == 0
    inbox.ingest("e4", content="bad")
    inbox.ingest("e5", author_id="a3", content="good")
    assert inbox.batch().parked == 1
    inbox.run("update router.parked_events set attempts = 1")
    assert inbox.value("select changed from router.retry_parked()") == 1
    assert inbox.value("select changed from router.discard_parked()") == 1


def test_deferred_triggers_find_their_names_where_routing_checks_them(any_database: str) -> None:
    """An event whose deferred trigger raises an error is parked, and the error is the trigger's own."""
    with Inbox(any_database) as inbox:
        listen(inbox)
        inbox.run(
            """create function refuse() returns trigger language plpgsql as $$
               begin
                   insert into heard values ('refused', shouted('good')::mood);
                   raise 'refused' using errcode = 'AA001';
               end $$;
               create constraint trigger refuse after insert on public.messages deferrable initially deferred
               for each row when (new.content_text = 'bad') execute function refuse()"""
        )
        inbox.ingest("e1", content="bad")
        inbox.ingest("e2", author_id="a2", content="good")
        assert inbox.batch().parked == 1
        assert inbox.column("select error_code from router.parked_events") == ["AA001"]
