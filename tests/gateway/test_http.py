"""`run --gateway` over HTTP: who is let in, what is answered, and what is there afterwards."""

import json
import socket
import threading
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.gateway.bodies import BOTS, SECRET, TOKEN, signed, signed_by_tiktok, whatsapp
from tests.gateway.conftest import Service, Start, count, messages, until_processed
from tests.intake import feeding
from tests.waiting import wait_for

PATH = "/webhooks/whatsapp"


def test_a_delivery_becomes_a_message(service: Service, db: psycopg.Connection) -> None:
    """It is there once 200 is; the same one again adds nothing to it."""
    body = whatsapp("wamid.a", "wamid.b", text="café 😀")
    for _ in range(2):
        answer = service.ask(PATH, body=body, headers=signed(body))
        assert (answer.status, answer.text) == (200, "")
        assert messages(db) == {"wamid.a": "café 😀", "wamid.b": "café 😀"}
    assert count(db, "router.deliveries where processed_at is not null and error is null") == 2
    assert count(db, "public.webhook_events where routed_at is null or routed_by is distinct from 'gateway'") == 0


@pytest.mark.parametrize("headers", [{}, signed(b"other"), signed(b"", secret="other"), {"X-Hub-Signature-256": "é"}])
def test_a_delivery_of_somebody_else(service: Service, db: psycopg.Connection, headers: dict[str, str]) -> None:
    """401, and nothing is stored."""
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    assert service.ask(PATH, body=whatsapp("wamid.a"), headers=headers).status == 401
    assert count(db, "router.deliveries") == 0
    assert service.router.metric("webhook_router_deliveries_total", outcome="signature") == 1


def test_the_signature_is_over_raw_bytes(service: Service, db: psycopg.Connection) -> None:
    """Escapes are signed as they were sent; the same JSON written again is not."""
    body = whatsapp("wamid.a", text="café").replace(b"900100", b"9001\\u0030\\u0030")
    assert service.ask(PATH, body=body, headers=signed(body)).status == 200
    again = json.dumps(json.loads(body), ensure_ascii=False).encode()
    assert service.ask(PATH, body=again, headers=signed(body)).status == 401
    assert messages(db) == {"wamid.a": "café"}


def test_what_is_not_configured_is_not_there(service: Service) -> None:
    """404 for other providers and other paths, whatever the method; 405 for other methods."""
    body = whatsapp("wamid.a")
    for path in ("/webhooks/instagram", "/webhooks/messenger", "/webhooks/x", "/webhooks/", "/", "/metrics", "/livez"):
        assert service.ask(path, body=body, headers=signed(body)).status == 404, path
        assert service.ask(path).status == 404, path
    for method in ("PUT", "DELETE", "HEAD"):
        assert service.ask(PATH, method=method).status == 405, method
    assert service.ask("/webhooks/telegram").status == 405
    assert service.ask("/webhooks/tiktok").status == 405


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        (f"hub.mode=subscribe&hub.verify_token={TOKEN}&hub.challenge=1158201444", (200, "1158201444")),
        (f"hub.mode=subscribe&hub.verify_token={TOKEN}x&hub.challenge=1", (403, None)),
        ("hub.mode=subscribe&hub.verify_token=&hub.challenge=1", (403, None)),
        ("hub.mode=subscribe&hub.challenge=1", (403, None)),
        (f"hub.mode=unsubscribe&hub.verify_token={TOKEN}&hub.challenge=1", (403, None)),
        (f"hub.verify_token={TOKEN}&hub.challenge=1", (403, None)),
        ("", (403, None)),
    ],
)
def test_the_challenge_of_meta(service: Service, query: str, answer: tuple[int, str | None]) -> None:
    """It is given back for the right token alone, as plain text."""
    found = service.ask(f"{PATH}?{query}")
    assert found.status == answer[0]
    if answer[1] is None:
        assert "1" not in found.text
    else:
        assert found.text == answer[1]
        assert found.headers["Content-Type"].startswith("text/plain")


def test_no_token_is_no_token(database: str, start: Start) -> None:
    """There is none unless it is configured, and then nobody gets a challenge back."""
    service = start(database, env={"WEBHOOK_ROUTER_WHATSAPP_VERIFY_TOKEN": ""})
    for token in ("", TOKEN, "None"):
        answer = service.ask(f"{PATH}?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158")
        assert answer.status in {403, 405}
        assert "1158" not in answer.text


def test_two_bots(service: Service, db: psycopg.Connection) -> None:
    """Equal bytes to two bots are two messages: the secret tells them apart."""
    body = json.dumps(
        {
            "update_id": 900,
            "message": {
                "message_id": 1,
                "from": {"id": 3001, "is_bot": False, "first_name": "Ana"},
                "chat": {"id": 3001, "first_name": "Ana", "type": "private"},
                "date": 1780000000,
                "text": "hi",
            },
        }
    ).encode()
    for secret in (*BOTS.values(), "wrong"):
        status = service.ask(
            "/webhooks/telegram", body=body, headers={"X-Telegram-Bot-Api-Secret-Token": secret}
        ).status
        assert status == (401 if secret == "wrong" else 200)
    assert messages(db) == {"700001:3001:1": "hi", "700002:3001:1": "hi"}
    assert {row[0] for row in db.execute("select account from router.deliveries")} == set(BOTS)


def test_tiktok(service: Service, db: psycopg.Connection) -> None:
    """The time is signed as well."""
    content = {
        "type": "text",
        "message_id": "tt9",
        "conversation_id": "conv-1",
        "timestamp": 1780000000000,
        "from_user": {"id": "user-1"},
        "to_user": {"id": "biz-900"},
        "text": {"body": "hi"},
    }
    body = json.dumps({"event": "im_receive_msg", "user_openid": "biz-900", "content": json.dumps(content)}).encode()
    headers = signed_by_tiktok(body)
    assert service.ask("/webhooks/tiktok", body=body, headers=headers).status == 200
    other = {"TikTok-Signature": headers["TikTok-Signature"].replace("1780000000", "1780000001")}
    assert service.ask("/webhooks/tiktok", body=body, headers=other).status == 401
    assert messages(db) == {"tt9": "hi"}


def direct(named: str, mid: str, **more: object) -> bytes:
    """A message of Instagram or Messenger, of a person to us, or the other way round."""
    event = {
        "sender": {"id": "990000000000001"},
        "recipient": {"id": "17841400000000900"},
        "timestamp": 1780000000000,
        "message": {"mid": mid, "text": "hello"} | more,
    }
    if "is_echo" in more:
        event["sender"], event["recipient"] = event["recipient"], event["sender"]
    return json.dumps({"object": named, "entry": [{"id": "17841400000000900", "messaging": [event]}]}).encode()


@pytest.mark.parametrize(("provider", "named"), [("instagram", "instagram"), ("messenger", "page")])
def test_instagram_and_messenger(
    database: str, start: Start, db: psycopg.Connection, provider: str, named: str
) -> None:
    """Each has secrets and a token of its own; what our own application has sent is only recorded."""
    name = f"WEBHOOK_ROUTER_{provider.upper()}"
    env = {f"{name}_APP_SECRETS": "old,new", f"{name}_VERIFY_TOKEN": "own", "WEBHOOK_ROUTER_META_OWN_APP_IDS": "77"}
    service = start(database, env=env)
    path = f"/webhooks/{provider}"
    bodies = [direct(named, "m1"), direct(named, "m2", is_echo=True, app_id=78)]
    bodies.append(direct(named, "m3", is_echo=True, app_id=77))
    for body in bodies:
        assert service.ask(path, body=body, headers=signed(body)).status == 401
        for secret in ("old", "new"):
            assert service.ask(path, body=body, headers=signed(body, secret=secret)).status == 200
    found = db.execute("select provider_message_id, direction from public.messages order by 1").fetchall()
    assert found == [("m1", "inbound"), ("m2", "outbound")]
    for token, status in (("own", 200), (TOKEN, 403)):
        query = f"hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158"
        assert service.ask(f"{path}?{query}").status == status


def test_all_rows_are_deleted_meanwhile(service: Service, db: psycopg.Connection) -> None:
    """The service remembers none of them: what comes afterwards makes them anew."""
    body = whatsapp("wamid.a")
    for _ in range(2):
        assert service.ask(PATH, body=body, headers=signed(body)).status == 200
        assert messages(db) == {"wamid.a": "hello"}
        assert (count(db, "public.contacts"), count(db, "public.conversations")) == (1, 1)
        db.execute(feeding.CLEAR)
        assert messages(db) == {}


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"\xff\xfe", b'{"a":', b"[" * 100_000, b"null", b'"x"', b"1e999999"]
)
def test_what_is_not_understood(service: Service, db: psycopg.Connection, body: bytes) -> None:
    """It is recorded as it came, and answered with 200: anything else would have it sent again for days."""
    assert service.ask(PATH, body=body, headers=signed(body)).status == 200
    until_processed(db, 1)
    row = db.execute("select has_unknown, error, kinds, is_compressed, body from router.deliveries").fetchone()
    assert row is not None
    assert row[:3] == (True, None, {"unknown": 1})
    assert row[3] or row[4] == body


def test_nul_and_half_a_pair(service: Service, db: psycopg.Connection) -> None:
    """What Postgres has no room for becomes U+FFFD."""
    body = whatsapp("wamid.a", text="x").replace(b'"x"', b'"a\\u0000b\\ud83dc"')
    assert service.ask(PATH, body=body, headers=signed(body)).status == 200
    assert messages(db) == {"wamid.a": "a�b�c"}


def test_too_large(database: str, start: Start, db: psycopg.Connection) -> None:
    """413, whether the length is told or not; a body that is just small enough is taken."""
    service = start(database, "--gateway-max-body-bytes", "2000")
    body = whatsapp("wamid.a", text="x" * 2000)
    assert service.ask(PATH, body=body, headers=signed(body)).status == 413
    chunked = {**signed(body), "Transfer-Encoding": "chunked"}
    with socket.create_connection(urlsplit(service.gateway).netloc.split(":")) as client:  # type: ignore[arg-type]
        head = "".join(f"{name}: {value}\r\n" for name, value in chunked.items())
        client.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413")
    small = whatsapp("wamid.b")
    small += b" " * (2000 - len(small))
    assert service.ask(PATH, body=small, headers=signed(small)).status == 200
    assert list(messages(db)) == ["wamid.b"]
    assert service.router.metric("webhook_router_deliveries_total", outcome="too_large") == 2


def test_a_body_of_megabytes(service: Service, db: psycopg.Connection) -> None:
    """It is answered as soon as it is stored; each of its messages is there a moment later, while others are taken."""
    body = whatsapp(*(f"wamid.big{number}" for number in range(10_500)), text="some text of a usual length " * 5)
    assert 2_500_000 < len(body) < 4 * 1024 * 1024
    assert service.ask(PATH, body=body, headers=signed(body)).status == 200
    small = whatsapp("wamid.small", person="15550100003")
    assert service.ask(PATH, body=small, headers=signed(small)).status == 200
    assert "wamid.small" in messages(db)
    wait_for(lambda: count(db, "public.messages") == 10_501, what="all messages")
    until_processed(db, 2)
    assert (count(db, "public.contacts"), count(db, "public.conversations")) == (2, 2)
    by = "public.webhook_events where routed_by = '{}'"
    assert (count(db, by.format("gateway")), count(db, by.format("intake"))) == (1, 10_500)


def test_half_a_body_and_a_slow_client(service: Service, db: psycopg.Connection) -> None:
    """Neither keeps others from being answered, and nothing of it is stored."""
    body = whatsapp("wamid.a")
    host, port = urlsplit(service.gateway).netloc.split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    begin = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50]
    with socket.create_connection((host, int(port))) as slow, socket.create_connection((host, int(port))) as half:
        slow.sendall(begin)
        half.sendall(begin)
        half.shutdown(socket.SHUT_WR)
        half.settimeout(60)
        assert half.recv(100).partition(b"\r\n")[0] in {b"", b"HTTP/1.1 400 Bad Request"}
        other = whatsapp("wamid.b")
        assert service.ask(PATH, body=other, headers=signed(other)).status == 200
        assert list(messages(db)) == ["wamid.b"]
        slow.sendall(body[50:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert set(messages(db)) == {"wamid.a", "wamid.b"}


def test_many_at_once_over_kept_connections(service: Service, db: psycopg.Connection) -> None:
    """Each is answered once and is there once, duplicates on two connections among them."""
    statuses: list[int] = []

    def provider(number: int) -> None:
        connection = service.connection()
        for serial in range(20):
            body = whatsapp(f"wamid.{number // 2}.{serial}", person=f"1555010{number // 2:04}")
            connection.request("POST", PATH, body, signed(body))
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=provider, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 240
    assert (count(db, "public.messages"), count(db, "router.deliveries")) == (120, 240)
    assert (count(db, "public.contacts"), count(db, "public.conversations")) == (6, 6)


def test_nothing_of_a_delivery_is_logged(service: Service) -> None:
    """Neither body nor header nor token, whatever goes wrong, nor what is no HTTP at all."""
    body = whatsapp("wamid.a", text="hunter2")
    service.ask(PATH, body=body, headers={"X-Hub-Signature-256": "sha256=hunter2"})
    service.ask(f"{PATH}?hub.mode=subscribe&hub.verify_token=hunter2&hub.challenge=hunter2")
    service.ask(PATH, body=b"hunter2", headers=signed(b"hunter2"))
    host, port = urlsplit(service.gateway).netloc.split(":")
    for nonsense in (b"hunter2\r\n\r\n", f"POST {PATH} HTTP/1.1\r\nX-Hunter: hunter2\0\r\n\r\n".encode()):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(nonsense)
            client.settimeout(60)
            assert client.recv(100).startswith(b"HTTP/1.")
    assert service.ask(PATH, body=body, headers=signed(body)).status == 200
    said = str(service.router.lines) + service.router.get("/metrics")[1]
    assert "hunter2" not in said
    assert SECRET not in said
