"""The gateway while something ends: the database, the service, a lock that others hold. What got 200 is never lost."""

import contextlib
import http.client
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.conftest import StartPostgres
from tests.gateway.bodies import signed, whatsapp
from tests.gateway.conftest import Answer, Service, Start, count, messages, until_processed
from tests.waiting import PATIENCE, wait_for

Fault = Callable[[EmbeddedPostgres], contextlib.AbstractContextManager[None]]
PATH = "/webhooks/whatsapp"
TURNED_AWAY_WITHIN = 12.0
BACK_WITHIN = 20.0


def post(service: Service, *names: str, person: str = "15550100002") -> Answer:
    """A delivery of messages by their ids."""
    body = whatsapp(*names, person=person)
    return service.ask(PATH, body=body, headers=signed(body))


class Provider(threading.Thread):
    """Sends deliveries over kept connections, each until it gets 200, as providers do."""

    def __init__(self, service: Service, name: str) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.label = name
        self.taken: list[str] = []
        """Ids of messages whose delivery has got 200."""
        self.statuses: Counter[int] = Counter()
        self.enough = threading.Event()

    def run(self) -> None:
        serial = 0
        connection = self.service.connection()
        while not self.enough.is_set():
            body = whatsapp(f"wamid.{self.label}.{serial}", person=f"15550{self.label}")
            try:
                connection.request("POST", PATH, body, signed(body))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = self.service.connection()
                self.enough.wait(0.02)
                continue
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.taken.append(f"wamid.{self.label}.{serial}")
                serial += 1
        connection.close()

    def end(self) -> None:
        """Sends no more."""
        self.enough.set()
        self.join(PATIENCE)


def assert_in_effect(db: psycopg.Connection, *providers: Provider) -> None:
    """Each message whose delivery got 200 is there, and there is no message twice."""
    found = Counter(name for (name,) in db.execute("select provider_message_id from public.messages").fetchall())
    assert not {name for provider in providers for name in provider.taken} - set(found)
    assert set(found.values()) == {1}


@contextlib.contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    """No process of the server runs: connections stay, and nobody answers."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    pids = [server.pid, *map(int, children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def killed(server: EmbeddedPostgres) -> Iterator[None]:
    """The server was killed; it is started again."""
    server.kill()
    try:
        yield
    finally:
        server.restart()


@pytest.mark.parametrize("fault", [killed, frozen])
def test_the_database_is_away(private_postgres: StartPostgres, start: Start, fault: Fault) -> None:
    """503 with Retry-After, in time; the service goes on, and takes what comes again once the database is back."""
    server: EmbeddedPostgres = private_postgres()
    migrator.migrate(server.dsn())
    service = start(server.dsn())
    assert post(service, "wamid.a").status == 200
    with fault(server):
        for name in ("wamid.b", "wamid.c"):
            began = time.monotonic()
            answer = post(service, name)
            assert (answer.status, time.monotonic() - began < TURNED_AWAY_WITHIN) == (503, True)
            assert int(answer.headers["Retry-After"]) > 0
    back = time.monotonic()
    wait_for(lambda: post(service, "wamid.b").status == 200, timeout=BACK_WITHIN, what="200")
    assert time.monotonic() - back < BACK_WITHIN
    with psycopg.connect(server.dsn(), autocommit=True) as db:
        assert "wamid.b" in messages(db)
    assert service.router.process.poll() is None


def test_the_database_starts_again(private_postgres: StartPostgres, start: Start) -> None:
    """Killed and started again under traffic: what got 200 is in effect, once, and what did not is taken later."""
    server: EmbeddedPostgres = private_postgres(settings={"fsync": "on"})
    migrator.migrate(server.dsn())
    service = start(server.dsn())
    providers = [Provider(service, f"10{number}") for number in range(4)]
    for provider in providers:
        provider.start()
    for round_ in range(1, 3):
        wait_for(lambda: min(len(p.taken) for p in providers) >= 20 * round_, what="traffic")  # noqa: B023
        with killed(server):
            pass
    done = {provider: len(provider.taken) for provider in providers}
    wait_for(lambda: all(len(p.taken) > done[p] + 20 for p in providers), what="traffic")
    for provider in providers:
        provider.end()
    with psycopg.connect(server.dsn(), autocommit=True) as db:
        wait_for(lambda: count(db, "router.deliveries where processed_at is null") == 0, what="deferred ones")
        assert_in_effect(db, *providers)


def test_kill_9_loses_nothing(database: str, start: Start, db: psycopg.Connection) -> None:
    """The service is killed under traffic, with deliveries that were only stored; another one has these take effect."""
    service = start(database)
    providers = [Provider(service, f"20{number}") for number in range(4)]
    for provider in providers:
        provider.start()
    wait_for(lambda: min(len(p.taken) for p in providers) >= 20, what="traffic")
    large = whatsapp(*(f"wamid.large.{number}" for number in range(3000)), person="15550300000")
    assert service.ask(PATH, body=large, headers=signed(large)).status == 200
    service.router.signal(signal.SIGKILL)
    service.router.stopped()
    for provider in providers:
        provider.end()
    assert_in_effect(db, *providers)
    start(database)
    wait_for(
        lambda: count(db, "public.messages where provider_message_id like 'wamid.large.%'") == 3000,
        what="what was only stored",
    )
    assert_in_effect(db, *providers)


def test_kill_9_between_two_parts_of_a_delivery(database: str, start: Start, db: psycopg.Connection) -> None:
    """What a large delivery says takes effect in parts; after the first ones the service is killed, and another one
    has the rest take effect."""
    service = start(database)
    names = [f"wamid.large.{number}" for number in range(10_000)]
    assert post(service, *names).status == 200
    wait_for(lambda: count(db, "public.messages") > 0, what="the first part")
    service.router.signal(signal.SIGKILL)
    service.router.stopped()
    assert count(db, "public.messages") < len(names)
    assert count(db, "router.deliveries where processed_at is null") == 1
    db.execute("update router.deliveries set next_attempt_at = now()")
    start(database)
    until_processed(db, 1)
    assert set(messages(db)) == set(names)


def test_sigterm_answers_what_is_in_hand(database: str, start: Start, db: psycopg.Connection) -> None:
    """Nobody is let in any more; a delivery that waits for a lock gets its 200, and the service ends well."""
    service = start(database)
    assert post(service, "wamid.a").status == 200
    answers: list[Answer] = []
    with db.transaction():
        db.execute("lock table public.messages in exclusive mode")
        posting = threading.Thread(target=lambda: answers.append(post(service, "wamid.b")))
        posting.start()
        with psycopg.connect(database, autocommit=True) as other:
            wait_for(
                lambda: count(other, "pg_stat_activity where wait_event_type = 'Lock'") > 0,
                what="a delivery that waits for the lock",
            )
        service.router.signal(signal.SIGTERM)
        wait_for(lambda: service.router.logged("stopping"), what="a line about it")
        wait_for(lambda: refuses(service), what="a closed port")
    posting.join(PATIENCE)
    assert [answer.status for answer in answers] == [200]
    assert service.router.stopped() == 0
    assert "wamid.b" in messages(db)


def refuses(service: Service) -> bool:
    """Whether no connection is taken."""
    try:
        service.connection().connect()
    except ConnectionRefusedError:
        return True
    return False


def test_a_call_that_takes_too_long(database: str, start: Start, db: psycopg.Connection) -> None:
    """Held up by a lock that somebody else keeps, deliveries are stored, and take effect when it is gone."""
    service = start(database, "--call-timeout", "1")
    with db.transaction():
        db.execute("lock table public.messages in exclusive mode")
        assert post(service, "wamid.a").status == 200
        with psycopg.connect(database, autocommit=True) as other:
            assert count(other, "router.deliveries where processed_at is null") == 1
    until_processed(db, 1)
    assert list(messages(db)) == ["wamid.a"]


def test_a_trigger_of_the_application_fails(service: Service, db: psycopg.Connection) -> None:
    """The delivery is stored, and takes effect once the trigger is mended, without a repetition by the provider."""
    db.execute(
        """create function public.broken() returns trigger language plpgsql as
           $$ begin if new.content = 'hello' then raise exception 'broken'; end if; return new; end $$"""
    )
    db.execute(
        "create trigger broken before insert on public.webhook_events for each row execute function public.broken()"
    )
    body = whatsapp("wamid.other", person="15550100009", text="fine")
    assert post(service, "wamid.a").status == 200
    assert service.ask(PATH, body=body, headers=signed(body)).status == 200
    assert list(messages(db)) == ["wamid.other"]
    db.execute("drop trigger broken on public.webhook_events")
    db.execute("update router.deliveries set next_attempt_at = now() where processed_at is null")
    until_processed(db, 2)
    assert set(messages(db)) == {"wamid.a", "wamid.other"}


def test_a_channel_that_the_tables_refuse(database: str, start: Start, db: psycopg.Connection) -> None:
    """503 for its provider alone, until its owner lets it in."""
    db.execute("alter table public.webhook_events add constraint few check (channel in ('instagram', 'facebook'))")
    service = start(database)
    answer = post(service, "wamid.a")
    assert (answer.status, count(db, "router.deliveries")) == (503, 0)
    assert int(answer.headers["Retry-After"]) > 0
    assert service.router.metric("webhook_router_provider_refused", provider="whatsapp") == 1
