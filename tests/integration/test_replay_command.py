"""`webhook-router replay`: stored deliveries, read once more, and `webhook-router deliveries`, which shows them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from consumer.adapters.postgres.delivery_store import PostgresDeliveryStore
from consumer.domain.providers import lines, whatsapp
from consumer.domain.providers.atoms import Atoms
from tests.cli import run
from tests.integration.test_ingest_bodies import file_of as file_of  # noqa: PLC0414 - a fixture
from tests.integration.test_ingest_bodies import message, rows, status

Older = Callable[[Callable[[Atoms], Atoms] | None], None]
ALL = """
    select m.id, m.content_text, m.message_type, m.media_url, m.metadata, w.content, w.normalized
    from messages m join webhook_events w on w.event_id = m.provider_message_id
    order by m.provider_message_id
"""


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Older:
    """Has bodies of WhatsApp read as an earlier version might have read them, until told to stop."""
    today = whatsapp.atoms

    def change(how: Callable[[Atoms], Atoms] | None) -> None:
        monkeypatch.undo()
        if how is not None:
            monkeypatch.setattr(whatsapp, "atoms", lambda body, context: how(today(body, context)))
            monkeypatch.setattr(lines, "VERSION", 0)

    return change


def placeholders(atoms: Atoms) -> Atoms:
    """Every message is of a type that is not known."""
    return replace(atoms, messages=tuple(replace(m, text=None, metadata={"placeholder": True}) for m in atoms.messages))


def replay(dsn: str, *more: str) -> dict[str, Any]:
    done = run(dsn, "replay", "--provider", "whatsapp", "--since", "1d", "--json", *more)
    assert done.code == 0, done.error
    report: dict[str, Any] = done.json
    return report


def test_what_was_missed_is_applied(database: str, file_of: Callable[..., str], older: Older) -> None:
    """Messages and effects that an earlier version did not see; once more, nothing is left to do."""
    older(lambda atoms: replace(atoms, messages=(), effects=()))
    path = file_of(message(1), status(9, "read"), message(2))
    assert run(database, "ingest", "--provider", "whatsapp", path).code == 0
    assert rows(database, "select count(*) from messages") == [(0,)]
    older(None)
    told = replay(database, "--dry-run")
    assert (told["deliveries"], told["messages"], told["effects"]["waiting"]) == (3, 2, 1)
    assert rows(database, "select count(*) from messages") == [(0,)]
    done = replay(database)
    assert (done["deliveries"], done["messages"], done["effects"]["waiting"], done["corrected"]) == (3, 2, 1, 0)
    assert rows(database, "select content_text from messages") == [("hello",), ("hello",)]
    before = rows(database, ALL)
    again = replay(database)
    assert (again["messages"], again["corrected"]) == (0, 0)
    assert rows(database, ALL) == before


def test_what_nobody_has_changed_is_corrected(database: str, file_of: Callable[..., str], older: Older) -> None:
    """A field that the application has changed since stays as it is."""
    older(placeholders)
    path = file_of(message(1), message(2), message(3))
    assert run(database, "ingest", "--provider", "whatsapp", path).code == 0
    assert rows(database, "select metadata -> 'placeholder' from messages") == [(True,)] * 3
    with psycopg.connect(database) as connection:
        connection.execute("update messages set content_text = 'by hand' where provider_message_id = 'wamid.2'")
    older(None)
    assert replay(database, "--dry-run")["corrected"] == 3
    assert rows(database, "select count(*) from messages where metadata ? 'placeholder'") == [(3,)]
    assert replay(database)["corrected"] == 3
    texts = rows(database, "select content_text from messages order by provider_message_id")
    assert texts == [("hello",), ("by hand",), ("hello",)]
    assert rows(database, "select count(*) from messages where metadata ? 'placeholder'") == [(0,)]
    before = rows(database, ALL)
    assert replay(database)["corrected"] == 0
    assert rows(database, ALL) == before


def test_an_older_delivery_does_not_bring_its_text_back(database: str, file_of: Callable[..., str]) -> None:
    """What counts of several deliveries of one event is what counted before."""
    path = file_of(message(1, "first"), message(1, "second"))
    assert run(database, "ingest", "--provider", "whatsapp", path).code == 0
    before = rows(database, ALL)
    assert replay(database)["corrected"] == 0
    assert rows(database, ALL) == before


def test_only_what_came_since_is_read(database: str, file_of: Callable[..., str]) -> None:
    """By the arrival at the gateway, whatever times are in the bodies; times are UTC unless they say otherwise."""
    assert run(database, "ingest", "--provider", "whatsapp", file_of(message(1), message(2))).code == 0
    with psycopg.connect(database) as connection:
        connection.execute(
            "update router.deliveries set received_at = '2026-01-01 12:00+00'"
            " where id = (select min(id) from router.deliveries)"
        )
    for since, expected in (
        ("2026-01-01T12:00", 2),
        ("2026-01-01T12:00:01", 1),
        ("2026-01-01T13:30+01:00", 1),
        ("1h", 1),
    ):
        done = run(database, "replay", "--provider", "whatsapp", "--since", since, "--json")
        assert done.json["deliveries"] == expected, since
    assert run(database, "replay", "--provider", "whatsapp", "--since", "yesterday").code == 2
    other = run(database, "replay", "--provider", "tiktok", "--since", "3d")
    assert other.out.startswith("0 deliveries: 0 messages made")


class TestDeliveries:
    def test_what_was_not_understood_is_listed_by_kind(self, database: str, file_of: Callable[..., str]) -> None:
        """With counts; the deliveries that hold it follow, and nothing of what people wrote is shown."""
        path = file_of(message(1, "a secret"), b'{"object": "whatsapp_business_account", "entry": 3}', b"nonsense")
        assert run(database, "ingest", "--provider", "whatsapp", path).code == 0
        listed = run(database, "deliveries", "list")
        assert listed.code == 0
        assert "secret" not in listed.out
        assert "(2 rows)" in listed.out
        found = run(database, "deliveries", "list", "--json").json
        assert {row["kind"]: row["atoms"] for row in found["kinds"]}["unknown"] == 2
        assert [row["kinds"]["unknown"] for row in found["deliveries"]] == [1, 1]
        by_kind = run(database, "deliveries", "list", "--kind", "message", "--json").json
        assert len(by_kind["deliveries"]) == 1
        assert [row["kind"] for row in by_kind["kinds"]] == ["message"]
        assert run(database, "deliveries", "list", "--provider", "tiktok", "--json").json == {
            "kinds": [],
            "deliveries": [],
        }

    def test_one_is_shown_as_it_came(self, database: str, file_of: Callable[..., str]) -> None:
        """Its body only when it is asked for, byte for byte if it is to be fed in again."""
        body = message(1, "a long secret " * 30)
        assert run(database, "ingest", "--provider", "whatsapp", file_of(body)).code == 0
        ((number, compressed),) = rows(database, "select id, is_compressed from router.deliveries")
        assert compressed
        shown = run(database, "deliveries", "show", str(number))
        assert "secret" not in shown.out
        assert re.search(rf"^bytes +{len(body)}$", shown.out, re.MULTILINE)
        assert "a long secret" in run(database, "deliveries", "show", "--body", str(number)).out
        with_body = run(database, "deliveries", "show", "--body", "--json", str(number)).json
        assert with_body[0]["body"] == json.loads(body)
        assert run(database, "deliveries", "show", "--raw", str(number)).out.encode() == body + b"\n"
        assert run(database, "deliveries", "show", "987654321").code == 1
        with psycopg.connect(database) as connection:
            connection.execute("update router.deliveries set body = 'x'")
        torn = run(database, "deliveries", "show", str(number))
        assert (torn.code, str(torn.error)) == (1, f"delivery {number}: the stored body is not whole")


async def test_a_stored_body_that_is_not_whole(database: str, file_of: Callable[..., str]) -> None:
    """It harms no other, neither where it is replayed nor where it is claimed."""
    path = file_of(message(1, "a long text " * 30), message(2))
    assert run(database, "ingest", "--provider", "whatsapp", path).code == 0
    with psycopg.connect(database) as connection:
        connection.execute("update router.deliveries set body = 'x' where id = (select min(id) from router.deliveries)")
        connection.execute("delete from webhook_events; delete from messages")
    done = run(database, "replay", "--provider", "whatsapp", "--since", "1d", "--json")
    assert (done.json["deliveries"], done.json["messages"], done.json["failed"]) == (2, 1, 1)
    with psycopg.connect(database) as connection:
        connection.execute("update router.deliveries set processed_at = null, next_attempt_at = now()")
    store = PostgresDeliveryStore(database, call_timeout=10)
    try:
        claimed = sorted(await store.claim(limit=10, size=1 << 20), key=lambda deferred: deferred.id)
    finally:
        await store.close()
    assert [(deferred.body is None, deferred.error) for deferred in claimed] == [
        (True, "the stored body is not whole"),
        (False, None),
    ]


async def test_what_is_not_in_effect_is_counted(database: str, file_of: Callable[..., str]) -> None:
    """Effects that wait by kind, deliveries that will be tried again, and how old the oldest are; up to a bound."""
    assert run(database, "ingest", "--provider", "whatsapp", file_of(status(1, "read"), status(2, "sent"))).code == 0
    with psycopg.connect(database) as connection:
        connection.execute("update router.waiting set received_at = now() - interval '1 hour' where target = 'wamid.2'")
        connection.execute("update router.deliveries set processed_at = null, next_attempt_at = now() where id = 1")
        connection.execute(
            "update router.deliveries set processed_at = null, next_attempt_at = 'infinity' where id = 2"
        )
    store = PostgresDeliveryStore(database, call_timeout=10)
    try:
        sample = await store.sample()
    finally:
        await store.close()
    assert (sample.waiting, sample.deferred) == ({"status": 2}, 1)
    assert 3500 < sample.waiting_seconds < 3700
    assert 0 <= sample.deferred_seconds < 600
    assert rows(database, "select waiting ->> 'status' from router.intake_backlog(1)") == [("1",)]


def test_what_was_pruned_makes_no_second_message(database: str, file_of: Callable[..., str]) -> None:
    """The events come back and are marked; messages and their statuses stay what they are."""
    path = file_of(message(1), status(1, "read"), message(2))
    assert run(database, "ingest", "--provider", "whatsapp", path).code == 0
    messages = "select m.*, d.read_at from messages m left join message_delivery d on d.message_id = m.id order by m.id"
    before = rows(database, messages)
    assert len(before) == 2
    with psycopg.connect(database) as connection:
        connection.execute("update webhook_events set routed_at = now() - interval '90 days'")
    assert run(database, "prune", "--keep-events", "30d", "--share", "1").code == 0
    assert rows(database, "select count(*) from webhook_events") == [(0,)]
    replay(database)
    assert rows(database, messages) == before
    assert rows(database, "select count(*) from webhook_events where routed_at is null") == [(0,)]
