"""What leaves webhook_events, and what stays: router.prune and what it is made of."""

import json
from typing import Any

import psycopg
import pytest

from tests.sql.inbox import Inbox, Row
from tests.sql.test_plans import LOAD, TABLES, Meter, analyze, bare  # noqa: F401 - a fixture
from tests.waiting import wait_for

KEEP = "30 days"


def routed(inbox: Inbox, event_id: str, *, days: float, channel: str = "instagram", **given: Any) -> None:
    """An event that was routed so many days ago, with its message."""
    inbox.ingest(event_id, channel=channel, raw_payload={"of": event_id}, **given)
    inbox.route(event_id, channel=channel)
    inbox.run(
        "update webhook_events set routed_at = now() - make_interval(secs => %s) where channel = %s and event_id = %s",
        days * 86_400,
        channel,
        event_id,
    )


def prune(inbox: Inbox, kind: str = "events", *, keep: str = KEEP, limit: int = 1000, dry_run: bool = False) -> Row:
    """All steps there are; their sums, and the last of what is none."""
    place: str | None = None
    total: Row = {"gone": 0, "bytes": 0, "refused": 0, "steps": 0, "reason": None}
    while True:
        step = inbox.row(
            """
            select gone, bytes, refused, reason, place::text, oldest::text, busy
            from router.prune(%s, %s, %s, %s, %s)
            """,
            kind,
            keep,
            limit,
            place,
            dry_run,
        )
        for name in ("gone", "bytes", "refused"):
            total[name] += step[name]
        total |= {"steps": total["steps"] + 1, "oldest": step["oldest"], "busy": step["busy"]}
        total["reason"] = total["reason"] or step["reason"]
        assert step["place"] != place or place is None, "no step stands still"
        if (place := step["place"]) is None:
            return total


def events(inbox: Inbox) -> list[str]:
    """The ids that are left."""
    return inbox.column("select event_id from webhook_events order by event_id")


def test_what_is_due_goes_and_nothing_else(any_inbox: Inbox) -> None:
    """Not what is younger, unrouted, parked or dead; messages stay."""
    inbox = any_inbox
    for number in range(7):
        routed(inbox, f"old {number}", days=31)
    routed(inbox, "young", days=29)
    inbox.ingest("unrouted", event_date="2020-01-01")
    for name, until in (("parked", "now() + interval '1 hour'"), ("dead", "'infinity'")):
        routed(inbox, name, days=90)
        inbox.run(f"update webhook_events set parked_until = {until} where event_id = %s", name)
    routed(inbox, "parked once", days=90)
    inbox.run(
        """
        insert into router.parked_events (event_id, channel, error_code, error_message, next_attempt_at)
        select id, channel, 'P0001', 'no', 'infinity' from webhook_events where event_id = 'parked once'
        """
    )
    messages = inbox.rows("select * from messages order by id")
    assert prune(inbox, limit=3) | {"bytes": 0, "oldest": None} == {
        "gone": 7,
        "bytes": 0,
        "refused": 0,
        "reason": None,
        "steps": 4,
        "oldest": None,
        "busy": False,
    }
    assert events(inbox) == ["dead", "parked", "parked once", "unrouted", "young"]
    assert inbox.rows("select * from messages order by id") == messages
    assert prune(inbox)["gone"] == 0


def test_a_dry_run_says_what_would_go(inbox: Inbox) -> None:
    """The same numbers, and nothing changes."""
    for number in range(5):
        routed(inbox, f"e{number}", days=40)
    for kind in ("payloads", "events"):
        before = inbox.rows("select * from webhook_events order by id")
        said = prune(inbox, kind, limit=2, dry_run=True)
        assert inbox.rows("select * from webhook_events order by id") == before
        assert said["gone"] == 5
        done = prune(inbox, kind, limit=2)
        assert (done["gone"], done["bytes"]) == (said["gone"], said["bytes"])
        if kind == "payloads":  # one that comes again stays with its event
            inbox.run("update webhook_events set raw_payload = '{\"a\": 1}' where event_id = 'e0'")
            assert prune(inbox, kind, dry_run=True)["gone"] == prune(inbox, kind)["gone"] == 0


def test_payloads_go_and_events_stay(any_inbox: Inbox) -> None:
    """Once; and a place is kept, so that the next call does not look at the same events again."""
    inbox = any_inbox
    for number in range(6):
        routed(inbox, f"old {number}", days=31)
    routed(inbox, "young", days=1)
    before = inbox.rows("select * from webhook_events order by event_id")
    assert prune(inbox, "payloads", limit=4)["gone"] == 6
    after = inbox.rows("select * from webhook_events order by event_id")
    assert [row | {"raw_payload": {}} if row["event_id"] != "young" else row for row in before] == after
    place = inbox.value("select payloads_pruned from router.installation")
    assert place["at"]
    routed(inbox, "later", days=30.5)
    assert prune(inbox, "payloads")["gone"] == 1
    assert inbox.value("select payloads_pruned from router.installation") != place
    assert prune(inbox, "payloads", keep="1 hour")["gone"] == 1
    assert prune(inbox, "events", keep="1 hour")["gone"] == 8


def test_the_oldest_of_what_is_left_is_told(inbox: Inbox) -> None:
    """So that somebody sees that retention works."""
    routed(inbox, "old", days=40)
    routed(inbox, "young", days=2)
    assert prune(inbox)["oldest"] == inbox.value("select routed_at::text from webhook_events")
    assert prune(inbox, keep="1 day")["oldest"] is None


@pytest.mark.parametrize("marked", [300, 30_000], ids=["a few", "many"])
def test_events_that_were_marked_at_one_moment(inbox: Inbox, marked: int) -> None:
    """As by hand, all at once: each loses its payload once, and a step reads no more than it must."""
    inbox.run(
        """
        insert into webhook_events (channel, type, event_id, raw_payload, routed_at)
        select 'instagram', 'message', 'e' || i, jsonb_build_object('of', i),
               case when i %% 3 = 0 then now() - interval '41 days' + i * interval '1 second'
                    else timestamptz '2026-01-01' end
        from generate_series(1, %s) i
        """,
        marked,
    )
    assert prune(inbox, "payloads", limit=marked // 50)["gone"] == marked
    assert inbox.value("select count(*) from webhook_events where raw_payload <> '{}'") == 0
    assert prune(inbox, "payloads", limit=marked // 50)["gone"] == 0
    assert prune(inbox, limit=marked // 50)["gone"] == marked


def test_a_step_reads_what_it_is_about(bare: Inbox) -> None:  # noqa: F811 - the fixture
    """No table from one end to the other, whatever the planner knows; not even of events that bear one time."""
    early = bare.another()
    prune(early, dry_run=True)
    prune(early, "payloads")
    bare.run(LOAD)
    bare.run("update webhook_events set raw_payload = '{\"a\": 1}'")
    bare.run("vacuum full webhook_events")  # else each entry of an index has a dead one beside it
    meter = Meter(bare)
    for session in (early, bare.another()):
        for kind in ("payloads", "events"):
            place: str | None = None
            for number in range(4):
                found: list[Row] = []
                usage = meter.during(
                    session,
                    lambda s=session, k=kind, p=place, f=found: f.append(  # type: ignore[misc]
                        s.row("select gone, place::text from router.prune(%s, %s, 100, %s)", k, KEEP, p)
                    ),
                )
                (step,) = found
                place = step["place"]
                assert not set(usage.scans_of_tables) & set(TABLES), (kind, number, usage.scans_of_tables)
                greedy = {name: n for name, n in usage.entries.items() if n > 60 * 100}
                assert not greedy, (kind, number, greedy)
                wide = {name: n for name, n in usage.pages.items() if n > 60 * 100}
                assert not wide, (kind, number, wide)
        analyze(bare)


def test_what_the_application_refuses_stays(any_inbox: Inbox) -> None:
    """A foreign key or a trigger of its own keeps single events; the others go, and no value of them is told."""
    inbox = any_inbox
    for number in range(9):
        routed(inbox, f"e{number}", days=31)
    inbox.run(
        """
        create function public.keep_some() returns trigger language plpgsql as $$
        begin
            if old.event_id = 'e3' then
                raise exception 'event % of % stays', old.event_id, old.author_id;
            end if;
            return case when old.event_id = 'e5' then null else old end;
        end
        $$;
        create trigger keep_some before delete on public.webhook_events
            for each row execute function public.keep_some();
        """
    )
    done = prune(inbox, limit=4)
    assert (done["gone"], done["refused"]) == (7, 2)
    assert events(inbox) == ["e3", "e5"]
    assert "e3" not in done["reason"]
    assert done["reason"].startswith("P0001")


@pytest.mark.parametrize(
    "made",
    [
        "alter table messages add column event uuid references webhook_events on delete cascade",
        "alter table messages add column event uuid references webhook_events on delete set null",
        """
        create table parts (id uuid primary key references webhook_events on delete cascade);
        alter table messages add column part uuid references parts on delete cascade
        """,
        "alter table webhook_events add column answers uuid references webhook_events on delete cascade",
    ],
    ids=["cascade", "set null", "by way of another table", "other events"],
)
def test_no_foreign_key_takes_more_along(database: str, made: str) -> None:
    """Messages are never touched, whatever the application has made of its tables; payloads may go."""
    with Inbox(database) as inbox:
        inbox.run(made)
        routed(inbox, "e1", days=31, author_id="a1")
        for dry_run in (True, False):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="by its foreign key"):
                prune(inbox, dry_run=dry_run)
        assert prune(inbox, "payloads")["gone"] == 1
        assert (events(inbox), inbox.count("messages")) == (["e1"], 1)


def test_the_advice_about_a_foreign_key_helps(database: str) -> None:
    """One that keeps the event it refers to lets the others go."""
    with Inbox(database) as inbox:
        inbox.run("alter table messages add column event uuid references webhook_events on delete cascade")
        routed(inbox, "e1", days=31)
        routed(inbox, "e2", days=31)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
            prune(inbox)
        assert refused.value.diag.message_hint == (
            "Have the foreign key keep the event (on delete restrict), or drop it."
        )
        inbox.run(
            """
            alter table messages drop constraint messages_event_fkey,
                add foreign key (event) references webhook_events on delete restrict;
            update messages set event = (select id from webhook_events where event_id = 'e1')
            where provider_message_id = 'e1'
            """
        )
        done = prune(inbox)
        assert (done["gone"], done["refused"], events(inbox)) == (1, 1, ["e1"])
        inbox.run("alter table messages drop constraint messages_event_fkey")
        assert prune(inbox)["gone"] == 1


def test_a_foreign_key_that_takes_only_its_own_rows_along_is_followed(database: str) -> None:
    """As the application has asked for."""
    with Inbox(database) as inbox:
        inbox.run("create table notes (event uuid references webhook_events on delete cascade)")
        routed(inbox, "e1", days=31)
        inbox.run("insert into notes select id from webhook_events")
        assert prune(inbox)["gone"] == 1
        assert inbox.count("notes") == 0


def test_a_deferred_refusal_is_one_as_well(database: str) -> None:
    """A constraint that is checked at the commit keeps its event, not the step."""
    with Inbox(database) as inbox:
        for number in range(4):
            routed(inbox, f"e{number}", days=31)
        inbox.run(
            """
            create table public.notes (event uuid references public.webhook_events deferrable initially deferred);
            insert into public.notes select id from public.webhook_events where event_id = 'e2';
            """
        )
        done = prune(inbox)
        assert (done["gone"], done["refused"]) == (3, 1)
        assert done["reason"].startswith("23503")
        assert events(inbox) == ["e2"]


def test_rows_that_somebody_writes_are_left_for_the_next_round(inbox: Inbox) -> None:
    """They are not waited for."""
    for number in range(3):
        routed(inbox, f"e{number}", days=31)
    other = inbox.another()
    with other.transaction():
        other.run("update webhook_events set content = 'mine' where event_id = 'e1'")
        inbox.run("set lock_timeout = '5s'")
        assert prune(inbox)["gone"] == 2
    inbox.run("reset lock_timeout")
    assert prune(inbox)["gone"] == 1


def test_a_payload_that_was_being_written_goes_in_the_next_round(inbox: Inbox) -> None:
    """How far payloads have gone is noted up to it, and not beyond."""
    for number in range(6):
        routed(inbox, f"e{number}", days=31 - number / 1000)
    other = inbox.another()
    with other.transaction():
        other.run("update webhook_events set content = 'mine' where event_id = 'e2'")
        assert prune(inbox, "payloads", limit=2)["gone"] == 5
    assert prune(inbox, "payloads", limit=2)["gone"] == 1
    assert prune(inbox, "payloads", limit=2)["steps"] == 1


def test_one_session_prunes_at_a_time(inbox: Inbox) -> None:
    """The other is told so, and does nothing; a dry run needs nobody's leave."""
    routed(inbox, "e1", days=31)
    other = inbox.another()
    with other.transaction():
        other.row("select * from router.take_due('events', %s)", KEEP)
        step = inbox.row("select * from router.prune('events', %s)", KEEP)
        assert step["busy"]
        assert step["gone"] == 0
        assert prune(inbox, dry_run=True)["gone"] == 1
    assert prune(inbox)["gone"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("everything", "30 days"), "p_kind"),
        ((None, "30 days"), "p_kind"),
        (("events", None), "an hour"),
        (("events", "59 minutes"), "an hour"),
        (("events", "-1 day"), "an hour"),
    ],
    ids=str,
)
def test_it_does_not_guess(inbox: Inbox, arguments: tuple[str | None, str | None], said: str) -> None:
    """What is deleted by mistake is gone."""
    routed(inbox, "e1", days=31)
    for call in ("router.prune(%s, %s)", "router.take_due(%s, %s)", "router.drop_taken(%s, %s, '{}')"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=said):
            inbox.run(f"select {call}", *arguments)
    assert events(inbox) == ["e1"]


def test_without_an_index_it_says_what_to_do(database: str) -> None:
    """It would read the whole table at each step. What it advises helps."""
    with Inbox(database) as inbox:
        routed(inbox, "e1", days=31)
        inbox.run("drop index webhook_events_routed_at_idx")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as error:
            prune(inbox)
        assert error.value.diag.message_hint is not None
        inbox.run(error.value.diag.message_hint)
        assert prune(inbox)["gone"] == 1


def test_hidden_rows_are_an_error(database: str) -> None:
    """Where row level security hides events from their owner, nothing would ever go, and all would look well."""
    with Inbox(database) as inbox:
        inbox.run("alter table webhook_events force row level security")
        inbox.run("create role keeper nologin nosuperuser")
        try:
            inbox.run("alter table webhook_events owner to keeper")
            inbox.run("alter function router.take_due owner to keeper; grant usage on schema router to keeper")
            inbox.run("grant all on all tables in schema router to keeper")
            inbox.run("grant execute on all functions in schema router to keeper")
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="row level security"):
                inbox.run("select router.take_due('events', %s)", KEEP)
        finally:
            inbox.run("reassign owned by keeper to current_user; drop owned by keeper; drop role keeper")


def test_a_redelivery_of_what_has_gone_makes_no_second_message(any_inbox: Inbox) -> None:
    """The message is there, so the event is only marked. Where the message has gone as well, it is made anew."""
    inbox = any_inbox
    routed(inbox, "e1", days=31, author_id="a1", content="hello")
    message = inbox.row("select * from messages")
    assert prune(inbox)["gone"] == 1
    inbox.ingest("e1", author_id="a1", content="hello")
    again = inbox.route("e1")
    assert again.message_id == message["id"]
    assert inbox.rows("select * from messages") == [message]
    assert inbox.value("select conversation_id from webhook_events") == message["conversation_id"]

    inbox.run("update webhook_events set routed_at = now() - interval '31 days'")
    assert prune(inbox)["gone"] == 1
    inbox.run("delete from messages")
    inbox.ingest("e1", author_id="a1", content="hello")
    assert inbox.route("e1").message_id != message["id"]
    assert inbox.count("messages") == 1


def test_triggers_of_the_application_fire(inbox: Inbox) -> None:
    """With the path that their functions rely on."""
    routed(inbox, "e1", days=31)
    inbox.run(
        """
        create table public.gone_events (event_id text, payload jsonb);
        create function public.note_gone() returns trigger language plpgsql as $$
        begin
            insert into gone_events values (old.event_id, old.raw_payload);
            return null;
        end
        $$;
        create trigger note_gone after delete on public.webhook_events for each row execute function public.note_gone();
        """
    )
    try:
        assert prune(inbox)["gone"] == 1
        assert inbox.rows("select * from gone_events") == [{"event_id": "e1", "payload": {"of": "e1"}}]
    finally:
        inbox.run("drop table gone_events")


def test_a_session_that_dies_in_a_step_has_done_all_of_it_or_nothing(inbox: Inbox) -> None:
    """And the next one goes on."""
    for number in range(10):
        routed(inbox, f"e{number}", days=31)
    other = inbox.another()
    other.run("begin")
    assert other.row("select gone from router.prune('events', %s, 4)", KEEP) == {"gone": 4}
    pid = other.value("select pg_backend_pid()")
    assert inbox.value("select pg_terminate_backend(%s)", pid)
    wait_for(lambda: not inbox.rows("select from pg_stat_activity where pid = %s", pid), what="the session to be gone")
    assert inbox.count("webhook_events") == 10
    assert prune(inbox, limit=4)["gone"] == 10


def test_the_place_holds_in_any_settings(inbox: Inbox) -> None:
    """How dates look to a session has nothing to do with it."""
    for number in range(5):
        routed(inbox, f"e{number}", days=31 + number / 1000)
    inbox.run("set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kathmandu'; set intervalstyle = 'sql_standard'")
    try:
        assert prune(inbox, "payloads", limit=2)["gone"] == 5
        inbox.run("set datestyle = 'German'; set timezone = 'America/St_Johns'")
        assert prune(inbox, limit=2)["gone"] == 5
        place = inbox.value("select payloads_pruned::text from router.installation")
        assert set(json.loads(place)) == {"at"}
    finally:
        inbox.run("reset datestyle; reset timezone; reset intervalstyle")


def test_errors_of_events_that_are_gone_are_forgotten(any_inbox: Inbox) -> None:
    """By the care that is taken of our own tables once an hour; those of events that are there stay."""
    inbox = any_inbox
    for name in ("there", "gone", "just gone"):
        inbox.ingest(name, event_date="infinity")
    assert inbox.batch(10).parked == 3
    inbox.run("update router.parked_events set last_parked_at = now() - interval '2 days'")
    inbox.run(
        """
        update router.parked_events p set last_parked_at = now()
        from webhook_events w where w.id = p.event_id and w.event_id = 'just gone'
        """
    )
    inbox.run("delete from webhook_events where event_id <> 'there'")
    inbox.run("select router.keep_deliveries('7 days')")
    kept = inbox.rows(
        "select w.event_id from router.parked_events p left join webhook_events w on w.id = p.event_id order by 1"
    )
    assert kept == [{"event_id": "there"}, {"event_id": None}]
