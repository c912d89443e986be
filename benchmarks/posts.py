"""POSTs as WhatsApp sends them, signed, from a process of its own: `python -m benchmarks.posts URL --seconds 10 …`.

It writes ready-made requests to keep-alive connections, so that it takes as little of the machine as it can: what is
measured shares its cores with it.
"""

import argparse
import asyncio
import hashlib
import hmac
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

SECRET_VARIABLE = "BENCH_APP_SECRET"
START = 1_780_000_000
PEOPLE = 500


def bodies() -> Iterator[bytes]:
    """Five POSTs for each exchange: what a person writes, the answer, and its three statuses."""
    for number in itertools.count():
        person = f"55119{number % PEOPLE:08d}"
        time_of = START + number
        metadata = {"display_phone_number": "15550100001", "phone_number_id": "900100"}

        def body(field: str, value: dict[str, Any], metadata: dict[str, str] = metadata) -> bytes:
            change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
            whole = {"object": "whatsapp_business_account", "entry": [{"id": "800100", "changes": [change]}]}
            return json.dumps(whole, separators=(",", ":")).encode()

        text = {"timestamp": str(time_of), "type": "text", "text": {"body": f"Is number {number} still to be had?"}}
        contacts = [{"wa_id": person, "profile": {"name": f"Person {number % PEOPLE}"}}]
        yield body("messages", {"contacts": contacts, "messages": [{"from": person, "id": f"wamid.I{number}", **text}]})
        echo = {"from": "15550100001", "to": person, "id": f"wamid.O{number}", **text}
        yield body("smb_message_echoes", {"message_echoes": [echo]})
        for status in ("sent", "delivered", "read"):
            told = {"id": f"wamid.O{number}", "status": status, "timestamp": str(time_of), "recipient_id": person}
            yield body("messages", {"statuses": [told]})


class Poster:
    """Posts on some connections, each with one request at a time."""

    def __init__(self, url: str, secret: bytes) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._secret = secret
        self._bodies = bodies()
        self.took: list[float] = []
        self.statuses: dict[int, int] = {}

    def request(self) -> bytes:
        """The next request, with its head."""
        body = next(self._bodies)
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def as_fast_as_possible(self, *, seconds: float, connections: int) -> float:
        """Posts without a rest; returns how long it took."""
        started = time.perf_counter()

        async def client() -> None:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            while time.perf_counter() - started < seconds:
                await self._post(reader, writer, since=time.perf_counter())
            writer.close()

        await asyncio.gather(*(client() for _ in range(connections)))
        return time.perf_counter() - started

    async def at(self, rate: float, *, seconds: float, connections: int) -> float:
        """Posts at that rate; a request that finds no free connection counts from when it was due."""
        due: asyncio.Queue[float | None] = asyncio.Queue()
        started = time.perf_counter()

        async def client() -> None:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            while (since := await due.get()) is not None:
                await self._post(reader, writer, since=since)
            writer.close()

        clients = [asyncio.create_task(client()) for _ in range(connections)]
        for number in range(int(rate * seconds)):
            at = started + number / rate
            await asyncio.sleep(max(at - time.perf_counter(), 0))
            due.put_nowait(at)
        for _ in clients:
            due.put_nowait(None)
        await asyncio.gather(*clients)
        return time.perf_counter() - started

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, since: float) -> None:
        writer.write(self.request())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths and (length := int(lengths[0].split(b":")[1])):
            await reader.readexactly(length)
        self.took.append(time.perf_counter() - since)
        self.statuses[status] = self.statuses.get(status, 0) + 1


def main() -> int:
    """Posts and prints JSON: seconds, statuses with their number, milliseconds of the answers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.posts")
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, help="POSTs a second; as many as possible unless given")
    given = parser.parse_args()
    poster = Poster(given.url, os.environ[SECRET_VARIABLE].encode())
    if given.rate:
        seconds = asyncio.run(poster.at(given.rate, seconds=given.seconds, connections=given.connections))
    else:
        seconds = asyncio.run(poster.as_fast_as_possible(seconds=given.seconds, connections=given.connections))
    took = sorted(1000 * seconds for seconds in poster.took)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "posts": len(took),
                "statuses": poster.statuses,
                "p50_ms": took[len(took) // 2],
                "p99_ms": took[len(took) * 99 // 100],
                "max_ms": took[-1],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
