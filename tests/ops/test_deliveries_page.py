"""/deliveries over HTTP: what was not understood by provider and kind, and one example without what people wrote."""

import html
import json
import random
import re
import shlex
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from consumer.adapters.bodies import BodyReader, call
from consumer.domain.providers.lines import Delivery
from tests.cli import run
from tests.deploy.service_login import made
from tests.processes import Router, running

TAKE = "select router.take_deliveries(%s::jsonb, %s::bytea[], %s, %s, false)"
HOSTILE = '<script>alert("x")</script>'


def unknown(change: Any) -> bytes:
    """A body of WhatsApp with a change that nobody knows."""
    return json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "900100", "changes": [change]}]}
    ).encode()


@pytest.fixture
def store(database: str) -> Iterator[Callable[..., None]]:
    """Stores bodies as the gateway does, read by the normalisers of this version."""
    reader = BodyReader(frozenset())
    with psycopg.connect(database, autocommit=True) as connection:

        def stored(*bodies: bytes, provider: str = "whatsapp", error: str | None = None) -> None:
            deliveries = [
                Delivery(provider=provider, account=None, body=body, atoms=None, error=error)
                if error
                else reader.read(provider, None, body)
                for body in bodies
            ]
            made = call(deliveries)
            connection.execute(TAKE, (made.deliveries, made.bodies, made.lines or None, made.effects or None))

        yield stored


@pytest.fixture
def router(database: str) -> Iterator[Router]:
    with running(database) as service:
        yield service


def page(router: Router, since: str = "24h") -> str:
    """The page, which is there."""
    status, text = router.get(f"/deliveries?since={since}")
    assert status == 200, text
    return text


def example(text: str, number: int = 0) -> str:
    """The text of an example."""
    return html.unescape(re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", text, re.DOTALL)[number])


def commands(text: str) -> list[str]:
    """What the page tells to type."""
    return [html.unescape(found) for found in re.findall(r"<code>(webhook-router [^<]*)</code>", text)]


def test_by_provider_and_kind(database: str, store: Callable[..., None], router: Router) -> None:
    """Counts within a span, the last arrival, and one example of each group, masked; then the commands it names."""
    assert "was understood" in page(router)
    value = {"metadata": {"phone_number_id": "900100"}, "polls": [{"from": "4915112345678", "title": "Geheimes"}]}
    store(*[unknown({"field": "polls", "value": value})] * 3)
    store(b"plain words of Anna")
    store(b'{"event":"im_new_thing","content":"{\\"text\\":\\"Geheimes\\",\\"type\\":\\"new\\"}"}', provider="tiktok")
    store(unknown({"field": "messages", "value": {}}), error="cannot be read: KeyError in <b>atoms</b>, line 7")
    text = page(router)
    assert not re.search("Geheimes|Anna|4915|900100|<b>", text)
    rows = [re.sub(r"<[^>]+>|\s+", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    assert [row[:4] for row in rows if row[:1] in (["whatsapp"], ["tiktok"])] == [
        ["whatsapp", "unknown", "4", "4"],
        ["tiktok", "unknown", "1", "1"],
    ]
    assert "no JSON that can be read: 19 bytes, the first one is a letter" in example(text)
    assert json.loads(example(text, 1)) == {
        "event": "im_new_thing",
        "content": {"JSON in a text": {"text": "text of 8 characters", "type": "new"}},
    }
    assert 'class="badge waiting"' in text
    assert "cannot be read: KeyError in &lt;b&gt;atoms&lt;/b&gt;, line 7" in text
    told = commands(text)
    assert len(told) == 6
    for command in told:
        words = shlex.split(command)[1:]
        done = run(database, *words)
        assert done.error is None, (command, done.error)
    listed = run(database, "deliveries", "list", "--state", "unknown", "--since", "24h", "--json").json
    assert len(listed["deliveries"]) == 6  # the one that had an error was replayed

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update router.deliveries set received_at = received_at - interval '2 h'")
        assert "was understood" in page(router, "1h")
        assert "is in effect" in page(router, "1h")
        assert page(router, "<script>").count("<option") == 3  # as without any
        # Bodies that were scrubbed are no example; the one before is.
        connection.execute(
            "update router.deliveries set body = null where body like '%plain%' or body like '%messages%'"
        )
        shown = json.loads(example(page(router, "7d")))
        assert shown["entry"][0]["changes"][0]["field"] == "polls"
        assert shown["entry"][0]["changes"][0]["value"]["polls"] == [
            {"from": "digits of 13", "title": "text of 8 characters"}
        ]
        connection.execute("update router.deliveries set body = null")
        connection.execute(
            "update router.deliveries set has_unknown = false, processed_at = null, next_attempt_at = 'infinity'"
            " where id in (select max(id) from router.deliveries)"
        )
        gone = page(router)
        assert gone.count("no body is left, since each held a message that its author has deleted") == 2
        assert 'class="badge dead"' in gone
        for command in commands(gone):
            assert run(database, *shlex.split(command)[1:]).error is None


def test_hostile_bodies(store: Callable[..., None], router: Router) -> None:
    """Scripts in keys and values, deep nesting, and 3 MB do nothing but stand there masked, or say their size."""
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    wide = {HOSTILE: HOSTILE, "type": HOSTILE, "\u202ekey": "\x1b[31m", "list": [HOSTILE] * 100_000}
    noise = random.Random(1).randbytes(1_500_000).hex()
    groups = {
        "message": unknown({"field": HOSTILE, "value": wide}),
        "status": deep,
        "edit": unknown({"field": "new", "value": noise}),
    }
    store(groups["message"])
    text = page(router)
    assert HOSTILE not in html.unescape(text)
    assert "alert" not in text
    assert "\u202e" not in text
    assert "… 99,997 more" in example(text)
    store(groups["status"])
    assert re.match(r"no JSON that can be read: 30,001 bytes|\{", example(page(router)))
    store(groups["edit"])
    assert re.fullmatch(r"too large to be shown: 1,[0-9,]+ bytes as it is stored", example(page(router)))


def test_names_of_kinds_are_escaped(database: str, router: Router) -> None:
    """Whoever has the service's URL may have stored any provider and kind; commands are quoted for a shell."""
    with psycopg.connect(database, autocommit=True) as connection:
        head = {
            "provider": f"x'; rm -rf {HOSTILE}",
            "digest": "00",
            "kinds": {HOSTILE: 1, "unknown": 1},
            "unknown": True,
        }
        body = zlib.compress(b"x")
        connection.execute(TAKE, (json.dumps([head | {"compressed": True}]), [body], None, None))
    text = page(router)
    assert HOSTILE not in text
    assert html.escape(HOSTILE, quote=False)[:11] in text
    replay = next(command for command in commands(text) if "replay" in command)
    assert shlex.split(replay)[3] == head["provider"]


def test_the_login_of_the_service_is_enough(database: str, store: Callable[..., None]) -> None:
    """It gets the body of an example, and no other one."""
    secret = unknown({"field": "new", "value": {"text": "secret"}})
    store(secret)
    with made(database), psycopg.connect(database, autocommit=True) as owner:
        owner.execute("set role webhook_router_service")
        (found,) = owner.execute(
            "select convert_from(body, 'UTF8') from router.deliveries_example('whatsapp', '{unknown}', '-infinity')"
        ).fetchall()
        assert found == (secret.decode(),)
        for refused in ("select * from router.deliveries_show(1)", "table router.deliveries"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(refused.encode())
