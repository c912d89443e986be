"""Checks that list the channels are widened whatever they look like, and stay where the application wants that."""

from collections.abc import Iterator

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator, uninstaller
from consumer.adapters.postgres.operating.audit import audit
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.migrations.databases import Database, brownfield_on

CHECKS = """
    select k.conname::text, pg_get_constraintdef(k.oid), k.convalidated
    from pg_constraint k
    where k.conrelid = 'public.webhook_events'::regclass and k.contype = 'c'
      and k.conkey = (select array[a.attnum] from pg_attribute a
                      where a.attrelid = k.conrelid and a.attname = 'channel')
    order by 1
"""
OLD = "'whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube'"
DROP = """
    do $do$
    declare v_name name;
    begin
        for v_name in select k.conname from pg_constraint k
                      where k.conrelid = 'public.webhook_events'::regclass and k.contype = 'c'
                        and pg_get_constraintdef(k.oid) like '%channel%' loop
            execute format('alter table public.webhook_events drop constraint %I', v_name);
        end loop;
    end $do$;
"""
INSERT = "insert into webhook_events (channel, type, event_id) values ('{0}', 'message', '{0}')"


@pytest.fixture
def wild(application_server: EmbeddedPostgres) -> Iterator[Database]:
    """Tables of the wild, on the newest and on the oldest Postgres in turn."""
    with brownfield_on(application_server, events=20) as database:
        yield database


def allowed(database: Database, *channels: str) -> list[str]:
    """Which of these an event may have."""
    found = []
    for channel in channels:
        try:
            database.run(f"begin; {INSERT.format(channel)}; rollback", role="app_owner")
            found.append(channel)
        except psycopg.errors.CheckViolation:
            pass
    return found


SHAPES = [
    f"constraint listed check (channel in ({OLD}))",
    f"""constraint "Odd Name" check (channel::text = any (array[{OLD}]))""",
    f"constraint cast_ check ((channel)::varchar in ({OLD}))",
    f"constraint unsure check (channel in ({OLD})) not valid",
    "constraint either check (channel = 'whatsapp' or channel in ('instagram', 'facebook', 'tiktok', 'youtube'))",
    "constraint pattern check (channel ~ '^(whatsapp|facebook|instagram|tiktok|youtube)$' or channel = 'whatsapp')",
    f"constraint of_lower check (lower(channel) in ({OLD})) no inherit",
]


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.split()[1] for shape in SHAPES])
def test_a_check_in_any_shape(wild: Database, shape: str) -> None:
    """It keeps its name, allows what it allowed and two channels more, and is as valid as it was."""
    wild.run(DROP, f"alter table webhook_events add {shape}", role="app_owner")
    before = wild.rows(CHECKS)
    migrator.migrate(wild.owned)
    ((name, definition, valid),) = wild.rows(CHECKS)
    assert (name, valid) == (before[0][0], before[0][2])
    assert str(definition).count("telegram") == str(definition).count("webchat") == 1
    assert allowed(wild, "whatsapp", "youtube", "telegram", "webchat", "smoke signals") == [
        *("whatsapp", "youtube", "telegram", "webchat"),
    ]
    assert wild.rows("select * from router.refused_channels()") == []
    assert not [row for row in audit(wild.owned).rows if row.kind == "channel" and not row.ok]
    assert migrator.migrate(wild.owned).changed is False
    uninstaller.uninstall(wild.owned)
    if name in {"listed", '"Odd Name"', "unsure"}:
        assert wild.rows(CHECKS) == before


def test_checks_that_say_something_else_stay(wild: Database) -> None:
    """A length, what is not wanted, or two columns."""
    wild.run(
        DROP,
        "alter table webhook_events add constraint length_ check (length(channel) < 20),"
        " add constraint unwanted check (channel <> 'webchat'),"
        " add constraint posts check (channel <> 'youtube' or type = 'comment')",
        role="app_owner",
    )
    before = wild.rows(CHECKS)
    migrator.migrate(wild.owned)
    assert wild.rows(CHECKS) == before
    assert wild.rows("select * from router.refused_channels()") == []


def test_a_domain(wild: Database) -> None:
    """It is widened for all tables that have it."""
    wild.run(
        DROP,
        f"create domain channel_name as text constraint known check (value in ({OLD}))",
        "alter table webhook_events alter column channel type channel_name",
        role="app_owner",
    )
    migrator.migrate(wild.owned)
    assert allowed(wild, "telegram", "youtube", "fax") == ["telegram", "youtube"]


def test_where_the_owner_refuses(wild: Database) -> None:
    """Migrating goes on; notes, audit and what the gateway asks say which route cannot work, and why."""
    wild.run(
        "create function refuse() returns event_trigger language plpgsql as $$ begin"
        " if exists (select from pg_event_trigger_ddl_commands() c"
        "            where c.object_identity like 'public.webhook_events%' and current_query() like '%_wider%') then"
        " raise exception 'not our checks'; end if; end $$",
        "create event trigger refuse on ddl_command_end when tag in ('ALTER TABLE') execute function refuse()",
    )
    before = wild.rows(CHECKS)
    migrator.migrate(wild.owned)
    if wild.rows(CHECKS) != before:  # the text of the whole statement names it: so it was refused
        pytest.fail("the check was widened")
    assert [row[:3] for row in wild.rows("select * from router.refused_channels()")] == [
        ("telegram", "telegram", "webhook_events")
    ]
    (row,) = [row for row in audit(wild.owned).rows if row.kind == "channel" and not row.ok]
    assert row.name == "telegram"
    assert "webhook_events" in row.detail
    assert not row.required
    assert any("webhook_events" in note and "telegram" in note for note in migrator.migrate(wild.owned).notes)
    wild.run("drop event trigger refuse")
    remedy = wild.value("select remedy from router.refused_channels()")
    wild.run(str(remedy), role="app_owner")
    assert wild.rows("select * from router.refused_channels()") == []
    assert allowed(wild, "telegram", "youtube", "fax") == ["telegram", "youtube"]


def test_uninstalling_with_rows_of_more_channels(wild: Database) -> None:
    """The check stays as wide as they need it, and that is said."""
    migrator.migrate(wild.owned)
    wild.run(INSERT.format("telegram"), role="app_owner")
    left = uninstaller.uninstall(wild.owned).left
    assert any("webhook_events_channel_check" in line for line in left)
    assert allowed(wild, "webchat") == ["webchat"]


def test_who_sees_a_message_sees_what_is_known_of_it(wild: Database) -> None:
    """And nobody else: row security of the new tables follows that of the messages, whatever that is."""
    wild.run(
        "alter table messages enable row level security",
        "drop policy if exists readers on messages",
        "create policy own on messages for select to authenticated using (content_text = 'mine')",
        "grant select on messages to authenticated",
        role="app_owner",
    )
    wild.run("delete from pg_policy where polrelid = 'messages'::regclass and polname <> 'own'")
    migrator.migrate(wild.owned)
    wild.run(
        "insert into conversations (id, channel) values ('00000000-0000-4000-8000-000000000001', 'whatsapp')",
        "insert into messages (conversation_id, channel, direction, content_text)"
        " select '00000000-0000-4000-8000-000000000001', 'whatsapp', 'outbound', t"
        " from unnest(array['mine', 'yours']) t",
        "insert into message_delivery (message_id, status) select id, 'sent' from messages",
        "insert into message_revisions (message_id, revised_at, ord) select id, now(), 'a' from messages",
        role="app_owner",
    )
    for table in ("message_delivery", "message_revisions"):
        seen = f"select string_agg(m.content_text, ',') from {table} t join messages m on m.id = t.message_id"
        assert wild.value(seen, role="authenticated") == "mine"
        assert wild.value(f"select count(*) from {table}", role="authenticated") == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            wild.value(f"select count(*) from {table}", role="anon")
