"""What makes a page worth looking at: events that come all the time, as those of the demo do, and deliveries."""

import contextlib
import http.client
import itertools
import json
import math
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg

from consumer.demo.feed import SampleFeed
from consumer.demo.run import INSERT
from tests.gateway.bodies import signed, whatsapp

COLUMNS = ("channel", "type", "event_id", "author_id", "author_name", "content", "event_date", "post_id")
NOT_UNDERSTOOD = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "800100",
            "changes": [
                {
                    "field": "polls",
                    "value": {
                        "messaging_product": "whatsapp",
                        "polls": [{"id": "wamid.poll", "question": "which day?"}],
                    },
                }
            ],
        }
    ],
}
"""With a field that no version of the API has yet."""


@contextlib.contextmanager
def fed(dsn: str, *, rate: float = 50, swing: float = 0, gateway: str = "") -> Iterator[None]:
    """Events come until the end, `rate` a second and up to `swing` more or fewer, within a minute and back.

    With `gateway` some deliveries are POSTed as well, of which a few are not understood, or not signed.
    """
    over = threading.Event()
    threads = [threading.Thread(target=_insert, args=(dsn, rate, swing, over))]
    if gateway:
        threads.append(threading.Thread(target=_post, args=(gateway, over)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _insert(dsn: str, rate: float, swing: float, over: threading.Event) -> None:
    feed, began, due = SampleFeed(1), time.monotonic(), 0.0
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not over.wait(0.1):
            due += 0.1 * (rate + swing * math.sin((time.monotonic() - began) / 60 * math.tau))
            events = list(itertools.islice(feed, int(due)))
            due -= len(events)
            connection.execute(INSERT, [[getattr(event, name) for event in events] for name in COLUMNS])


def _post(gateway: str, over: threading.Event) -> None:
    connection = http.client.HTTPConnection(urlsplit(gateway).netloc, timeout=30)
    with contextlib.closing(connection):
        for number in itertools.count():
            if over.wait(0.04 + 0.03 * math.sin(number / 90)):
                return
            what = json.dumps(NOT_UNDERSTOOD).encode() if number % 200 == 50 else whatsapp(f"wamid.{number}")
            headers = signed(what, secret="another") if number % 300 == 170 else signed(what)
            connection.request("POST", "/webhooks/whatsapp", what, headers)
            connection.getresponse().read()
