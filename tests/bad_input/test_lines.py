"""Lines of NDJSON that are no events: one file with all of them among good ones, through the command."""

import json
import uuid
from pathlib import Path

import psycopg
import pytest

from tests.bad_input.conftest import Service
from tests.processes import command


def line(**odd: object) -> bytes:
    """An event with something odd in it."""
    return json.dumps({"channel": "instagram", "event_id": uuid.uuid4().hex, "content": "content"} | odd).encode()


BAD = {
    "no JSON": b"channel=instagram&event_id=1",
    "half a line": b'{"channel": "instagram", "event_id": "ha',
    "two events on a line": line() + line(),
    "single quotes": b"{'channel': 'instagram'}",
    "not UTF-8": b'{"channel": "instagram", "event_id": "\xff\xfe"}',
    "a NUL as it is": b'{"channel": "instagram", "event_id": "\x00"}',
    "a NUL escaped": b'{"channel": "instagram", "event_id": "\\u0000"}',
    "half a character": b'{"channel": "instagram", "event_id": "\\ud800"}',
    "NaN": b'{"channel": "instagram", "event_id": "n", "raw_payload": {"a": NaN}}',
    "infinite": b'{"channel": "instagram", "event_id": "i", "raw_payload": {"a": Infinity}}',
    "a list": b'["instagram", "1"]',
    "a number": b"42",
    "null": b"null",
    "an empty object": b"{}",
    "no id": b'{"channel": "instagram"}',
    "an id that is a number": line(event_id=7),
    "an empty id": line(event_id=""),
    "an id of 513 characters": line(event_id="x" * 513),
    "an unknown channel": line(channel="telegraph"),
    "a field that nobody knows": line(autor_id="x"),
    "a type that nobody knows": line(type="reaction"),
    "a date in words": line(event_date="yesterday"),
    "a date that is none": line(event_date="2026-02-30T00:00:00Z"),
    "a date without a zone": line(event_date="2026-01-01T00:00:00"),
    "a date as a number": line(event_date=1767225600),
    "a payload that is a string": line(raw_payload="{}"),
    "a payload too deep": b'{"channel": "instagram", "event_id": "d", "raw_payload": {"a": '
    + b"[" * 20_000 + b"]" * 20_000 + b"}}",
    "a conversation that is no id": line(conversation_id="1"),
    "a conversation that is not there": line(conversation_id=str(uuid.UUID(int=3))),
    "longer than a line may be": b'{"content": "' + b"x" * (17 * 1024 * 1024) + b'"}',
}  # fmt: skip
ODD_BUT_GOOD = {
    "SQL": line(event_id="'); truncate public.webhook_events; --"),
    "format strings": line(content="%s %(x)s {0} \\x00 $1"),
    "a huge number in the payload": line(raw_payload={"n": 10**300}),
    "four megabytes of content": line(content="c" * 4_194_304),
    "a carriage return at the end": line() + b"\r",
}


@pytest.fixture(scope="module")
def rejected(_service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Line number and reason of each line that was rejected, after one run over all of them."""
    file = tmp_path_factory.mktemp("lines") / "events.ndjson"
    lines = [*BAD.values(), *ODD_BUT_GOOD.values()]
    with file.open("wb") as out:
        for number, bad in enumerate(lines):
            out.write(bad + b"\n" + line(event_id=f"neighbour-{number}") + b"\n")
    done = command("ingest", str(file), "--json", dsn=_service.dsn)
    assert done.returncode == 1, done.stderr
    kept = Path(f"{file}.rejected.ndjson").read_text(encoding="utf-8").splitlines()
    return {found["line"]: found["reason"] for found in map(json.loads, kept)}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line(rejected: dict[int, str], name: str) -> None:
    """It is kept aside with its number and a reason that is one line and no traceback."""
    reason = rejected[2 * list(BAD).index(name) + 1]
    assert 5 < len(reason) <= 1100
    assert "Traceback" not in reason
    assert "\n" not in reason


def test_only_bad_lines_are_rejected(rejected: dict[int, str], service: Service) -> None:
    """What is merely odd is stored, and so is the good line behind each bad one; all of them are routed."""
    assert len(rejected) == len(BAD)
    count = len(BAD) + len(ODD_BUT_GOOD)
    for number in range(count):
        service.until_done(f"neighbour-{number}")
    with psycopg.connect(service.dsn) as db:
        row = db.execute(
            """select count(*) from public.messages
               where provider_message_id like 'neighbour-%' or provider_message_id like '%truncate%'"""
        ).fetchone()
    assert row == (count + 1,)
