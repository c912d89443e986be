"""`webhook-router ingest --provider`: bodies as providers send them, one a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumer.adapters.postgres.operating.audit import audit
from consumer.domain.errors import Misconfigured
from tests.cli import run

ACCOUNT = "15550783881"


def message(number: int, text: str = "hello", *, time: int | None = None, author: str = "16505551234") -> bytes:
    """A body of WhatsApp with one message."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": ACCOUNT, "phone_number_id": "106540352242922"},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": author}],
        "messages": [
            {
                "from": author,
                "id": f"wamid.{number}",
                "timestamp": str(time or 1780000000 + number),
                "type": "text",
                "text": {"body": text},
            }
        ],
    }
    return whatsapp(value)


def status(number: int, state: str) -> bytes:
    """A body of WhatsApp that tells how far a message of ours has come."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": ACCOUNT, "phone_number_id": "106540352242922"},
        "statuses": [
            {"id": f"wamid.{number}", "status": state, "timestamp": "1780000100", "recipient_id": "16505551234"}
        ],
    }
    return whatsapp(value)


def whatsapp(value: dict[str, Any]) -> bytes:
    """A body with one change."""
    change = {"field": "messages", "value": value}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}).encode()


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., str]:
    def write(*bodies: bytes) -> str:
        path = tmp_path / "bodies.ndjson"
        path.write_bytes(b"\n".join(bodies) + b"\n")
        return str(path)

    return write


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_bodies_become_rows(database: str, file_of: Callable[..., str]) -> None:
    """Messages are made, what changes them is applied, and each body is kept; a repetition changes nothing."""
    path = file_of(*(message(number) for number in range(5)), status(77, "read"), b'{"object": "page"}', b"no JSON")
    done = run(database, "ingest", "--provider", "whatsapp", path, "--json")
    assert done.code == 0, done.err
    report = done.json
    assert (report["lines"], report["messages"], report["rejected"], report["failed"]) == (8, 5, 0, 0)
    assert report["effects"]["waiting"] == 1
    assert report["unknown"] >= 1
    assert rows(database, "select count(*) from messages where direction = 'inbound'") == [(5,)]
    assert rows(database, "select account_id from conversations") == [("106540352242922",)]
    assert rows(database, "select distinct routed_by from webhook_events") == [("call",)]
    assert rows(database, "select count(*), bool_and(processed_at is not null) from router.deliveries") == [(8, True)]
    before = rows(database, "select * from messages order by id")
    again = run(database, "ingest", "--provider", "whatsapp", path, "--json").json
    assert again["messages"] == 0
    assert rows(database, "select * from messages order by id") == before


def test_what_waits_is_applied_at_the_end(database: str, file_of: Callable[..., str]) -> None:
    """A message that the application has stored by itself gets the status that came before it."""
    assert run(database, "ingest", "--provider", "whatsapp", file_of(message(1), status(2, "read"))).code == 0
    send = """
        insert into messages (conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                              sent_at)
        select conversation_id, contact_id, 'whatsapp', 'outbound', 'hi', 'wamid.2', now() from messages returning 1
    """
    with psycopg.connect(database) as connection:
        connection.execute(send)
    done = run(database, "ingest", "--provider", "whatsapp", file_of(message(3)), "--json")
    assert done.json["swept"] == 1
    assert rows(database, "select status from message_delivery") == [("read",)]
    assert rows(database, "select count(*) from router.waiting") == [(0,)]


def test_lines_count_in_their_order(database: str, file_of: Callable[..., str]) -> None:
    """Deliveries of one batch arrive one after the other, also for the database."""
    assert run(database, "ingest", "--provider", "whatsapp", file_of(*(message(n) for n in range(300)))).code == 0
    by_arrival = rows(database, "select count(distinct received_at), count(*) from router.deliveries")
    assert by_arrival == [(300, 300)]
    in_order = "select bool_and(d.later) from (select id > lag(id) over (order by received_at) as later from {}) d"
    assert rows(database, in_order.format("router.deliveries")) == [(True,)]


def test_what_the_application_refuses_stays_stored(database: str, file_of: Callable[..., str]) -> None:
    """The others of the batch are taken; the exit code says that something is left."""
    with psycopg.connect(database) as connection:
        connection.execute("alter table webhook_events add constraint no_bad check (content <> 'bad')")
    path = file_of(message(1), message(2, "bad"), message(3))
    done = run(database, "ingest", "--provider", "whatsapp", path)
    assert done.code == 1
    assert "2 messages made" in done.out
    assert "1 stored, and not in effect yet: webhook-router deliveries list --state waiting" in done.err
    left = rows(database, "select left(error, 5), attempts from router.deliveries where processed_at is null")
    assert left == [("23514", 1)]


def test_telegram_needs_the_bot(database: str, file_of: Callable[..., str]) -> None:
    """A body does not name it, and ids are unique within a bot only; other providers have no use for it."""
    path = file_of(b'{"update_id": 1}')
    without = run(database, "ingest", "--provider", "telegram", path)
    assert isinstance(without.error, Misconfigured)
    assert "--account" in str(without.error)
    username = run(database, "ingest", "--provider", "telegram", "--account", "@our_bot", path)
    assert isinstance(username.error, Misconfigured)
    assert "digits in front of the colon" in str(username.error)
    with_it = run(database, "ingest", "--provider", "whatsapp", "--account", "1", path)
    assert isinstance(with_it.error, Misconfigured)
    assert isinstance(run(database, "ingest", "--account", "1", path).error, Misconfigured)
    assert rows(database, "select count(*) from router.deliveries") == [(0,)]


@pytest.mark.parametrize("of", [("--provider", "messenger"), ("--provider", "telegram", "--account", "700001")])
def test_what_is_said_of_other_files_reads_bodies_as_well(
    database: str, file_of: Callable[..., str], of: tuple[str, ...]
) -> None:
    """The advice for JSON over several lines ends in the command that was typed, with what to read."""
    done = run(database, "ingest", *of, file_of(b"{", b'  "object": "page"', b"}"))
    assert isinstance(done.error, Misconfigured)
    assert str(done.error).endswith(f"| webhook-router ingest {' '.join(of)} -")


def test_a_channel_that_is_refused_is_told_first(database: str, file_of: Callable[..., str]) -> None:
    """With what refuses it and what the owner can run; nothing is stored."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "alter table messages add constraint only_these check (channel in ('whatsapp', 'instagram', 'facebook'))"
        )
    done = run(database, "ingest", "--provider", "tiktok", file_of(b"{}"))
    assert done.code == 1
    assert "only_these" in str(done.error)
    assert "tiktok" in str(done.error)
    assert rows(database, "select count(*) from router.deliveries") == [(0,)]


def echo_of_app(provider: str) -> bytes:
    """What an application has sent."""
    if provider == "whatsapp":
        sent = {"from": ACCOUNT, "to": "16505551234", "id": "wamid.1", "type": "text", "text": {"body": "hi"}}
        value = {"metadata": {"display_phone_number": ACCOUNT, "phone_number_id": "106540352242922"}}
        return whatsapp(value | {"message_echoes": [sent | {"app_id": 77}]})
    told = {"mid": "m1", "text": "hi", "is_echo": True, "app_id": 77}
    event = {"sender": {"id": "1"}, "recipient": {"id": "2"}, "timestamp": 1780000000000, "message": told}
    named = {"instagram": "instagram", "messenger": "page"}[provider]
    return json.dumps({"object": named, "entry": [{"id": "1", "messaging": [event]}]}).encode()


@pytest.mark.parametrize("provider", ["whatsapp", "instagram", "messenger"])
def test_echoes_of_an_application_that_may_be_ours(
    database: str, file_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """They make messages, and the audit says so while no app is known to be ours; those of ours are only recorded."""
    path = file_of(echo_of_app(provider))
    reader = f"{database}?options=-crole%3Dpg_read_all_data"  # a superuser reads no deliveries there
    monkeypatch.setenv("WEBHOOK_ROUTER_META_OWN_APP_IDS", "77")
    assert run(database, "ingest", "--provider", provider, path).code == 0
    assert rows(database, "select count(*) from messages") == [(0,)]
    assert not [row for row in audit(reader).rows if row.kind == "echoes"]
    monkeypatch.delenv("WEBHOOK_ROUTER_META_OWN_APP_IDS")
    assert run(database, "ingest", "--provider", provider, path).code == 0
    assert rows(database, "select direction from messages") == [("outbound",)]
    (told,) = [row for row in audit(reader).rows if row.kind == "echoes"]
    assert "in 1 of the latest deliveries" in told.detail
