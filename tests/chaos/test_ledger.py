"""The ledger can be trusted only once it has been shown to find what is wrong."""

import itertools
import random

import psycopg
import pytest

from tests.chaos.bodies import follows, is_postable, posts_of
from tests.chaos.events import Event, made
from tests.chaos.ledger import MUST_BE_ZERO
from tests.chaos.scene import Scene
from tests.chaos.watch import Watcher
from tests.intake.feeding import read, take
from tests.waiting import wait_for

VICTIM = "(select event_id from public.webhook_events where author_id is not null order by event_id limit 1)"


@pytest.fixture
def routed(scene: Scene) -> Scene:
    """A scene in which 200 events are routed as they should be."""
    scene.deliver(list(itertools.islice(made("ledger", prefix="ledger", authors=20, faulty=0), 200)), times=2)
    scene.database.rows("select public.route_unrouted_events(null, 1000)")
    return scene


@pytest.fixture
def taken(routed: Scene) -> Scene:
    """The same, and 200 more that have come in their providers' bodies, with reactions, answers and statuses."""
    ledger = routed.ledger
    events = [event for event in itertools.islice(made("ledger", prefix="posted", faulty=0), 200) if is_postable(event)]
    items = [item for event in events for item in (event, *follows(event))]
    posts = posts_of(items, random.Random("ledger"))
    ledger.enter(item for item in items if isinstance(item, Event))
    ledger.enter_effects(effect for post in posts for effect in post.effects)
    ledger.enter_posts(post.digest for post in posts)
    with psycopg.connect(routed.database.dsn, autocommit=True) as connection:
        take(connection, [read(post.provider, post.body) for post in posts])
    ledger.acknowledge(event for post in posts for event in post.events)
    ledger.acknowledge_effects(effect for post in posts for effect in post.effects)
    ledger.answer_posts(post.digest for post in posts)
    return routed


def test_nothing_is_wrong(routed: Scene) -> None:
    """The verdict on a healthy database: 200 events, each delivered twice, and zeros."""
    found = routed.verdict()
    assert (found.events, found.acknowledged, found.deliveries, found.parked) == (200, 200, 400, 0)


def test_nothing_is_wrong_with_what_was_posted(taken: Scene) -> None:
    """Bodies in any order, effects ahead of their messages among them: all is in effect, and counted."""
    found = taken.verdict()
    assert found.posts == taken.database.value("select count(*) from router.deliveries") > 100
    assert found.events == found.acknowledged > 390
    assert found.reactions >= taken.database.value("select count(*) from public.message_reactions") > 0
    assert found.statuses > taken.database.value("select count(*) from public.message_delivery") > 0


@pytest.mark.parametrize(
    ("line", "harm"),
    [
        ("lost", f"delete from public.messages where provider_message_id = {VICTIM}"),
        ("lost", f"update public.webhook_events set routed_at = null where event_id = {VICTIM}"),
        ("lost", f"delete from public.webhook_events where event_id = {VICTIM}"),
        ("altered", f"update public.messages set content_text = 'other' where provider_message_id = {VICTIM}"),
        ("altered", f"update public.messages set sent_at = now() where provider_message_id = {VICTIM}"),
        ("altered", f"update public.messages set contact_id = null where provider_message_id = {VICTIM}"),
        (
            "altered",
            f"""update public.messages m set conversation_id = v.id from public.conversations v
                where m.provider_message_id = {VICTIM} and v.contact_id is distinct from m.contact_id""",
        ),
        (
            "unknown",
            """insert into public.webhook_events (channel, type, event_id, content)
               values ('instagram', 'message', 'nobody sent this', '')""",
        ),
        (
            "messages_doubled",
            f"""drop index public.messages_channel_provider_message_id_key;
                insert into public.messages (conversation_id, contact_id, channel, direction, content_text,
                                             provider_message_id, sent_at)
                select conversation_id, contact_id, channel, direction, content_text, provider_message_id, sent_at
                from public.messages where provider_message_id = {VICTIM}""",
        ),
        (
            "messages_doubled",
            f"""insert into public.messages (conversation_id, contact_id, channel, direction, content_text, sent_at)
                select conversation_id, contact_id, channel, direction, content_text, sent_at
                from public.messages where provider_message_id = {VICTIM}""",
        ),
        ("contacts_doubled", "insert into public.contacts (full_name) values ('Name 1')"),
        (
            "conversations_doubled",
            """insert into public.conversations (contact_id, channel, status)
               select contact_id, channel, 'open' from public.conversations where contact_id is not null limit 1""",
        ),
        (
            "last_message_at_behind",
            """update public.conversations set last_message_at = last_message_at - interval '1 millisecond'
               where id = (select id from public.conversations limit 1)""",
        ),
        ("unrouted_again", f"update public.webhook_events set routed_at = null where event_id = {VICTIM}"),
        (
            "parked_without_cause",
            f"""insert into router.parked_events (event_id, channel, error_code, error_message, next_attempt_at)
                select id, channel, '57014', 'too slow', now() from public.webhook_events where event_id = {VICTIM};
                delete from router.parked_events""",
        ),
    ],
)
def test_harm_is_found(routed: Scene, line: str, harm: str) -> None:
    """Each kind of damage, done by hand, even if only for a moment."""
    with routed.database.connect() as connection:
        connection.execute("set session_replication_role = origin")
        connection.execute(harm.encode())
    with pytest.raises(AssertionError, match=line):
        routed.verdict()


@pytest.mark.parametrize(
    ("line", "harm"),
    [
        ("lost", "delete from public.messages where direction = 'outbound'"),
        ("altered", "update public.messages set direction = 'inbound' where direction = 'outbound'"),
        (
            "messages_doubled",
            """insert into public.messages (conversation_id, contact_id, channel, direction, content_text, sent_at)
               select conversation_id, contact_id, channel, direction, content_text, sent_at
               from public.messages where direction = 'outbound'""",
        ),
        (
            "unknown",
            """insert into public.messages (conversation_id, contact_id, channel, direction, content_text, sent_at)
               select conversation_id, contact_id, channel, 'outbound', 'nobody sent this', sent_at
               from public.messages where direction = 'outbound'""",
        ),
        ("unknown", "insert into router.deliveries (provider, digest, processed_at) values ('whatsapp', '1', now())"),
        ("posts_lost", "delete from router.deliveries where id = (select min(id) from router.deliveries)"),
        ("posts_lost", "update router.deliveries set processed_at = null"),
        ("effects_lost", "delete from public.message_reactions"),
        ("effects_lost", "update public.message_reactions set reacted_at = reacted_at - interval '1 hour'"),
        ("effects_lost", "delete from public.message_delivery"),
        ("effects_lost", "update public.message_delivery set read_at = null"),
        ("effects_altered", "update public.message_reactions set emoji = '{other}'"),
        (
            "effects_altered",
            """insert into public.message_reactions (message_id, actor, reacted_at, ord)
               select id, 'somebody', sent_at, '' from public.messages limit 1""",
        ),
        ("effects_altered", "update public.message_delivery set status = 'sent' where read_at is not null"),
        ("effects_altered", "update public.message_delivery set read_at = read_at + interval '1 second'"),
        ("effects_altered", "update public.message_delivery set played_at = now()"),
        (
            "effects_altered",
            """insert into public.message_delivery (message_id, status, sent_at)
               select id, 'sent', sent_at from public.messages where direction = 'inbound' limit 1""",
        ),
    ],
)
def test_harm_to_what_was_posted_is_found(taken: Scene, line: str, harm: str) -> None:
    """The same, of what came in providers' bodies."""
    with taken.database.connect() as connection:
        connection.execute(harm.encode())
    with pytest.raises(AssertionError, match=f"'{line}'"):
        taken.verdict()


def test_every_line_is_tried() -> None:
    """Except offsets, which the watcher checks."""
    tried = {
        line
        for test in (test_harm_is_found, test_harm_to_what_was_posted_is_found)
        for line, _ in test.pytestmark[0].args[1]  # type: ignore[union-attr]
    }
    assert tried == MUST_BE_ZERO - {"offsets_ahead"}


def test_the_watcher_sees_what_is_set_right_again(routed: Scene) -> None:
    """An un-routed event and a conversation that is behind, both only during the run."""
    offsets = {"topic": {0: 2}}
    absent = next(made("ledger", prefix="absent"))
    watcher = Watcher(routed.database.dsn, routed.ledger, offsets=lambda: offsets)
    watcher.start()
    wait_for(lambda: watcher.samples > 0, what="a sample")
    assert (watcher.unrouted_again, watcher.behind, watcher.offsets_ahead) == (0, 0, 0)
    routed.database.rows("alter table public.webhook_events disable trigger witness")
    routed.database.rows("update public.webhook_events set routed_at = null")
    routed.database.rows("update public.conversations set last_message_at = '-infinity'")
    routed.ledger.record("topic", [(0, 1, absent)])
    before = watcher.samples
    wait_for(lambda: watcher.samples > before + 1, what="two more samples")
    seen = watcher.stop()
    assert all(count > 0 for count in seen.values()), seen
