"""A running service, and a check whether anything has disturbed it."""

import contextlib
import itertools
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.processes import Router, running
from tests.servers import empty_database_on
from tests.waiting import wait_for

GOOD = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date)
    values ('whatsapp', 'message', %s, 'good author', 'Good', 'good content', now())
"""
CALLS_OF_A_CASE = 12
"""Routing calls that one bad event may cause, halving and the good event's own among them."""


class Service:
    """The service under attack: `undisturbed` is asked after each bad thing."""

    def __init__(self, dsn: str, router: Router) -> None:
        self.dsn = dsn
        self.router = router
        self.db = psycopg.connect(dsn, autocommit=True)
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def undisturbed(self, *, calls: int = CALLS_OF_A_CASE) -> Iterator[None]:
        """What happens inside must not keep a good event from being routed, nor set off more calls than these."""
        before = self._calls()
        failures = self.router.metric("webhook_router_loop_failures_total")
        yield
        good = f"good-{next(self._numbers)}-{uuid.uuid4().hex}"
        self.db.execute(GOOD, (good,))
        self.until_done(good)
        assert self.state(good) == "routed"
        assert self.router.metric("webhook_router_loop_failures_total") == failures
        assert self._calls() - before <= calls
        assert self.router.get("/livez")[0] == 200
        assert self.router.process.poll() is None

    def until_done(self, event_id: str) -> None:
        """Waits until an event is routed or parked."""
        wait_for(lambda: self.state(event_id) != "waiting", what=f"{event_id}, {self.router.lines[-3:]}")

    def state(self, event_id: str) -> str:
        """routed, parked with its SQLSTATE, waiting, or absent."""
        row = self.db.execute(
            """select case when w.routed_at is not null then 'routed'
                           when w.parked_until is not null then 'parked ' || p.error_code else 'waiting' end
               from public.webhook_events w
               left join router.parked_events p on p.event_id = w.id
               where w.event_id = %s""",
            (event_id,),
        ).fetchone()
        return "absent" if row is None else str(row[0])

    def _calls(self) -> float:
        return self.router.metric("webhook_router_batch_duration_seconds_count")


@pytest.fixture(scope="session")
def _service(postgres_server: EmbeddedPostgres, schema_template: str) -> Iterator[Service]:
    with (
        empty_database_on(postgres_server, template=schema_template) as dsn,
        running(dsn, "--reconcile-interval", "1", "--sample-interval", "1") as router,
    ):
        router.until_listening()
        service = Service(dsn, router)
        try:
            yield service
        finally:
            service.db.close()


@pytest.fixture
def service(_service: Service) -> Service:
    """One service for all cases: what one of them breaks, the next one finds."""
    return _service
