"""What edits, deletions and the like read does not grow with the tables, whatever the planner knows of them."""

from collections.abc import Callable
from typing import Any

from tests.sql.deliveries import ANA, delete, edit, effect, message, take, wamid
from tests.sql.inbox import Inbox
from tests.sql.test_plans import TABLES, Meter, bare

__all__ = ("bare",)

ROWS = 20_000
LOAD = f"""
set session_replication_role = replica;
insert into contacts (id) select md5(i::text)::uuid from generate_series(1, {ROWS}) i;
insert into contact_channels (contact_id, channel, external_id)
select md5(i::text)::uuid, 'whatsapp', 'p' || i from generate_series(1, {ROWS}) i;
insert into conversations (id, contact_id, channel, account_id)
select md5('c' || i)::uuid, md5(i::text)::uuid, 'whatsapp', '900100' from generate_series(1, {ROWS}) i;
insert into messages (id, conversation_id, channel, direction, provider_message_id)
select md5('m' || i)::uuid, md5('c' || i)::uuid, 'whatsapp', 'inbound', 'old' || i from generate_series(1, {ROWS}) i;
insert into webhook_events (channel, type, event_id, routed_at)
select 'whatsapp', 'message', 'old' || i, now() from generate_series(1, {ROWS}) i;
insert into message_revisions (message_id, ord, revised_at)
select md5('m' || i)::uuid, 'o', now() from generate_series(1, {ROWS}) i;
insert into router.silent_edits (message_id, ord, revised_at)
select md5('m' || i)::uuid, 's', now() from generate_series(1, {ROWS}) i;
insert into router.waiting (channel, atom_id, kind, target, token, effect, expires_at)
select 'whatsapp', 'w' || i, 'edit', 't' || i, 't' || i, '{{}}', 'infinity' from generate_series(1, {ROWS}) i;
insert into router.open_replies (message_id, channel, ref, token)
select md5('m' || i)::uuid, 'whatsapp', 'r' || i, 'r' || i from generate_series(1, {ROWS}) i;
insert into router.referrals (channel, account, person, at, ord, referral, message_id)
select 'whatsapp', '900100', 'p' || i, now(), 'o', '{{}}', md5('m' || i)::uuid from generate_series(1, {ROWS}) i;
insert into router.deleted_messages (subject) select i from generate_series(1, {ROWS}) i;
insert into router.deliveries (provider, digest, subjects, processed_at, body)
select 'whatsapp', '', array[-i], now(), 'body' from generate_series(1, {ROWS}) i;
reset session_replication_role;
"""
READ = (
    *TABLES,
    *("message_revisions", "silent_edits", "waiting", "open_replies", "referrals", "deleted_messages", "deliveries"),
    "deliveries_default",
)


def calls(session: Inbox, tag: str) -> dict[str, Callable[[], Any]]:
    """One of each kind."""
    person: dict[str, Any] = {"target": None, "second": 3}
    return {
        "messages": lambda: take(session, message(f"{tag}1"), message(f"{tag}2", reply_to=f"{tag}3")),
        "reply": lambda: take(session, message(f"{tag}3")),
        "edit": lambda: take(session, edit("new", second=3, target=f"{tag}1")),
        "waiting edit": lambda: take(session, edit("new", second=3, target=f"{tag}4")),
        "edit by another id": lambda: take(session, edit("new", second=4, target=wamid("1", "A" * 20))),
        "reply to another id": lambda: take(session, message(f"{tag}5", reply_to=wamid("1", "A" * 20))),
        "media": lambda: take(session, effect("media", f"media:{tag}", f"{tag}1", values={"text": "look"})),
        "delete": lambda: take(session, delete(target=f"{tag}1")),
        "waiting delete": lambda: take(session, delete(target=f"{tag}4")),
        "handover": lambda: take(session, effect("handover", f"h{tag}", values={"owner": tag}, **person)),
        "marketing": lambda: take(session, effect("marketing", f"k{tag}", values={"value": "stop"}, **person)),
        "system": lambda: take(session, effect("system", f"s{tag}", values={"id": f"new {tag}"}, **person)),
        "referral": lambda: take(session, effect("referral", f"r{tag}", values={"referral": {"a": tag}}, **person)),
        "sweep": lambda: session.run("select router.sweep_late(100), router.retry_replies(100, null)"),
    }


def check(inbox: Inbox, session: Inbox, tag: str) -> None:
    """No call may scan a table, or read more of any index than a few entries."""
    meter = Meter(inbox)
    for name, call in calls(session, tag).items():
        usage = meter.during(session, call)
        assert not set(usage.scans_of_tables) & set(READ), f"{name}: {usage.scans_of_tables}"
        greedy = {index: entries for index, entries in usage.entries.items() if entries > 1500}
        assert not greedy, f"{name} read {greedy}"


def test_effects_read_by_key(bare: Inbox) -> None:
    """With plans made while the tables were tiny, and with new ones, before and after they are analysed."""
    early = bare.another()
    take(early, message("first", people=(ANA,)))
    for number in range(3):
        for call in calls(early, f"early{number} ").values():
            call()
    bare.run(LOAD)
    check(bare, early, "kept ")
    check(bare, bare.another(), "fresh ")
    for table in READ:
        schema = "public" if table in TABLES or table == "message_revisions" else "router"
        bare.run(f"vacuum analyze {schema}.{table}")
    check(bare, bare.another(), "analysed ")
