"""The ledger can be trusted only once it has been shown to find what is wrong."""

import itertools

import pytest

from tests.chaos.events import made
from tests.chaos.ledger import MUST_BE_ZERO
from tests.chaos.scene import Scene
from tests.chaos.watch import Watcher
from tests.waiting import wait_for

VICTIM = "(select event_id from public.webhook_events where author_id is not null order by event_id limit 1)"


@pytest.fixture
def routed(scene: Scene) -> Scene:
    """A scene in which 200 events are routed as they should be."""
    scene.deliver(list(itertools.islice(made("ledger", prefix="ledger", authors=20, faulty=0), 200)), times=2)
    scene.database.rows("select public.route_unrouted_events(null, 1000)")
    return scene


def test_nothing_is_wrong(routed: Scene) -> None:
    """The verdict on a healthy database: 200 events, each delivered twice, and zeros."""
    found = routed.verdict()
    assert (found.events, found.acknowledged, found.deliveries, found.parked) == (200, 200, 400, 0)


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


def test_every_line_is_tried() -> None:
    """Except offsets, which the watcher checks."""
    (parameters,) = test_harm_is_found.pytestmark  # type: ignore[attr-defined]
    assert {line for line, _ in parameters.args[1]} == MUST_BE_ZERO - {"offsets_ahead"}


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
