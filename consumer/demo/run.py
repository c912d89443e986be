"""Runs the demo and measures it: all figures that it prints are measured."""

import asyncio
import itertools
import os
import shlex
import shutil
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import psycopg
from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.adapters.postgres.connection import connect, translated
from consumer.adapters.postgres.migrations import migrator
from consumer.config import PREFIX, Settings
from consumer.demo.feed import SampleFeed
from consumer.demo.sample import Sample
from consumer.domain.errors import Fatal
from consumer.domain.facts import BacklogSampled, BatchRouted, Fact
from consumer.domain.intake_facts import DeliveriesTaken
from consumer.domain.webhook import WebhookEvent
from consumer.embedded_postgres.cluster import SUPERUSER
from consumer.embedded_postgres.server import HOST, EmbeddedPostgres, EmbeddedPostgresError
from consumer.service import Service, build

LIVE_RATE = 200.0
AT_ONCE = 1000
"""Deliveries that one statement inserts when they are not paced."""
REFRESH = 0.25
LOOK = 0.05
"""Seconds between two checks whether everything is routed."""
REMAINS = """
    select count(*) filter (where parked_until is null), count(*) filter (where parked_until is not null)
    from public.webhook_events
    where routed_at is null
"""
OWN = {
    "source": "postgres",
    "database_url_file": None,
    "sample_interval": 0.5,
    "gateway": True,
    "whatsapp_app_secrets_file": None,
    "ops": True,
    "ops_token": None,
    "ops_token_file": None,
    "ops_actions": True,
}
"""Settings of the demo, whatever the environment says."""
LATEST = "select sent_at, channel, content_text from messages order by sent_at desc limit 5"
POSTED = """
    select c.full_name, m.channel, m.content_text
    from public.messages m
    left join public.contacts c on c.id = m.contact_id
    where m.channel = 'whatsapp' and m.provider_message_id = %s
"""
INSERT = """
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id)
    select * from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                         %s::text[])
    on conflict (channel, event_id) do nothing
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to show."""

    events: int
    rate: float | None
    """Deliveries a second; None: 200 in the live demo, as fast as the database takes them with `once`."""
    once: bool
    seed: int


class Figures:
    """An observer that adds up what the demo prints."""

    def __init__(self, *, keep: int | None) -> None:
        self.routed = self.backlog = self.parked = self.posted = 0
        self.ages: deque[float] = deque(maxlen=keep)
        """Seconds from created_at to the commit, of the latest `keep` events (None: of all)."""
        self.last_commit = 0.0

    def __call__(self, fact: Fact) -> None:
        match fact:
            case BatchRouted(batch=batch):
                self.routed += batch.routed
                self.ages.extend(batch.ages)
                self.last_commit = time.perf_counter()
            case DeliveriesTaken(answered=answered):
                self.posted += sum(answered.values())
            case BacklogSampled(backlog=backlog):
                self.backlog, self.parked = backlog.ready, backlog.parked + backlog.dead
            case _:
                pass

    def latency_ms(self) -> tuple[float, float]:
        """p50 and p99, in milliseconds; zeros before the first two events."""
        if len(self.ages) < 2:
            return 0.0, 0.0
        cuts = quantiles(self.ages, n=100, method="inclusive")
        return round(cuts[49] * 1000, 3), round(cuts[98] * 1000, 3)


class Demo:
    """An embedded Postgres with the schema, a feed of deliveries, and the service; `run` it once."""

    def __init__(self, settings: Settings, options: DemoOptions, console: Console) -> None:
        self._settings = settings
        self._options = options
        self._console = console
        self._figures = Figures(keep=None if options.once else 20_000)
        self._stop = asyncio.Event()
        self._sent = self._accepted = 0

    def stop(self, reason: str) -> None:
        """Ends the feed; what it has fed is still routed."""
        del reason
        self._stop.set()

    async def run(self) -> dict[str, Any] | None:
        """Runs it and removes everything; returns the figures, or None if it was stopped before it fed anything.

        Raises:
            Fatal: no Postgres can be started here.
            Transient: Postgres ended meanwhile.
        """
        self._say("starting a Postgres of its own …")
        try:
            server = await asyncio.to_thread(EmbeddedPostgres.start)
        except EmbeddedPostgresError as error:
            if self._stop.is_set():  # a terminal's Ctrl-C ends initdb too
                return None
            raise Fatal(str(error)) from error
        served = False
        try:
            conninfo = server.dsn()
            if not self._stop.is_set():
                await asyncio.to_thread(migrator.migrate, conninfo)
            if self._stop.is_set():
                return None
            served = True
            with translated():
                return await self._serve(server)
        finally:
            await asyncio.to_thread(server.stop)
            if served:
                self._say("stopped: the service, and the Postgres with its data")

    async def _serve(self, server: EmbeddedPostgres) -> dict[str, Any]:
        conninfo = server.dsn()
        sample = Sample.new()
        settings = self._settings.model_copy(
            update=OWN | {"database_url": SecretStr(conninfo), "whatsapp_app_secrets": SecretStr(sample.secret)}
        )
        service = build(settings, observers=[self._figures])
        serving = asyncio.create_task(service.run(), name="service")
        try:
            feeding = asyncio.create_task(self._feed(conninfo), name="feed")
            try:
                done = asyncio.create_task(self._all_routed(conninfo, feeding), name="all routed")
                await self._watch(
                    service,
                    serving,
                    done,
                    announce=lambda: self._announce(service, server, sample),
                    look=lambda posted: self._posted(conninfo, sample, posted),
                )
                parked = await done
                began = await feeding
            finally:
                feeding.cancel()
                done.cancel()
                await asyncio.gather(feeding, done, return_exceptions=True)
        finally:
            service.stop("the demo is over")
            await serving
        return self._result(began, parked)

    async def _watch(
        self,
        service: Service,
        serving: asyncio.Task[None],
        done: asyncio.Task[int],
        *,
        announce: Callable[[], None],
        look: Callable[[int], Awaitable[str]],
    ) -> None:
        """Shows the live line until everything that was fed is routed, and beside it what was POSTed."""
        before = (time.perf_counter(), 0)
        announced, posted, shown = False, 0, ""
        with Live(console=self._console, auto_refresh=False, transient=self._options.once) as live:
            while not done.done() and not serving.done():
                await asyncio.wait({done, serving}, timeout=REFRESH)
                if service.gateway and not announced:
                    announced = True
                    announce()
                now = (time.perf_counter(), self._figures.routed)
                rate = (now[1] - before[1]) / (now[0] - before[0])
                before = now
                if self._figures.posted > posted:
                    posted = self._figures.posted
                    shown = await look(posted)
                live.update(Group(self._panel(rate), *([Text(shown)] if shown else [])), refresh=True)
        if not (self._console.is_terminal or self._options.once):
            self._console.line()  # which `Live` leaves out where it shows only its last state
        if serving.done():
            await serving  # raises what ended it

    def _announce(self, service: Service, server: EmbeddedPostgres, sample: Sample) -> None:
        address = service.address
        url, passwords = credentials(server)
        self._say(f"routing on Postgres {server.major}; metrics and probes are at")
        self._say(f"  {address}/metrics  {address}/livez  {address}/readyz")
        self._say("what it does can be seen, and what it has parked tried again, in a browser at")
        self._say(f"  {address}/")
        self._say("while this runs, its database can be looked at from another terminal:")
        self._say(f"  export {PREFIX}DATABASE_URL_FILE={shlex.quote(str(url))}")
        self._say(f"  echo '{LATEST}' | {program()} sql -")
        self._say(f"  PGPASSFILE={shlex.quote(str(passwords))} psql -h {HOST} -p {server.port} -U {SUPERUSER}")
        if not self._options.once:
            self._say("what a provider POSTs becomes a message as well; the line below shows it:")
            self._say(f"  {sample.curl(service.gateway)}")
            self._say("Ctrl-C stops everything")

    async def _posted(self, conninfo: str, sample: Sample, count: int) -> str:
        """The message that was POSTed, as it is in the tables."""
        connection = await connect(conninfo)
        try:
            row = await (await connection.execute(POSTED, [sample.message_id])).fetchone()
        finally:
            await connection.close()
        return f"POSTed: {count:,}" + (f"; {row[0]} ({row[1]}): {row[2]}" if row else "")

    async def _all_routed(self, conninfo: str, feeding: asyncio.Task[float]) -> int:
        """Waits until all that was fed is routed or parked, according to the table; returns how many are parked."""
        await feeding
        connection = await connect(conninfo)
        try:
            while True:
                row = await (await connection.execute(REMAINS)).fetchone()
                assert row is not None
                ready, parked = row
                if ready == 0:
                    return int(parked)
                await asyncio.sleep(LOOK)
        finally:
            await connection.close()

    async def _feed(self, conninfo: str) -> float:
        """Inserts deliveries until there are enough of them or the demo stops; returns when it began."""
        options, feed = self._options, SampleFeed(self._options.seed)
        rate = options.rate or (None if options.once else LIVE_RATE)
        connection = await connect(conninfo)
        began = time.perf_counter()
        try:
            while not self._stop.is_set() and not (options.once and self._sent >= options.events):
                due = AT_ONCE if rate is None else int((time.perf_counter() - began) * rate) - self._sent
                if options.once:
                    due = min(due, options.events - self._sent)
                if due > 0:
                    await self._insert(connection, list(itertools.islice(feed, min(due, AT_ONCE))))
                if rate is not None:
                    await asyncio.sleep(min(0.01, 1 / rate))
        finally:
            await connection.close()
        return began

    async def _insert(self, connection: psycopg.AsyncConnection, events: list[WebhookEvent]) -> None:
        columns = [
            [getattr(event, name) for event in events]
            for name in ("channel", "type", "event_id", "author_id", "author_name", "content", "event_date", "post_id")
        ]
        cursor = await connection.execute(INSERT, columns)
        self._sent += len(events)
        self._accepted += cursor.rowcount

    def _panel(self, rate: float) -> Table:
        figures, (p50, p99) = self._figures, self._figures.latency_ms()
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)  # 80 columns
        for heading in ("fed", "duplicates", "routed", "routed/s", "p50 ms", "p99 ms", "backlog", "parked"):
            table.add_column(heading, justify="right", min_width=8)
        table.add_row(
            f"{self._sent:,}",
            f"{self._sent - self._accepted:,}",
            f"{figures.routed:,}",
            f"{rate:,.0f}",
            f"{p50:.1f}",
            f"{p99:.1f}",
            f"{figures.backlog:,}",
            f"{figures.parked:,}",
        )
        return table

    def _result(self, began: float, parked: int) -> dict[str, Any]:
        figures, (p50, p99) = self._figures, self._figures.latency_ms()
        seconds = max(figures.last_commit - began, 1e-9)
        result = {
            "events": self._sent,
            "routed": figures.routed,
            "parked": parked,
            "duplicates": self._sent - self._accepted,
            "seconds": round(seconds, 3),
            "events_per_second": round(self._sent / seconds, 1),
            "latency_ms": {"p50": p50, "p99": p99},
        }
        self._say(
            f"{result['events']:,} deliveries: {result['routed']:,} routed, {result['duplicates']:,} duplicates, "
            f"{result['parked']:,} parked, in {seconds:.2f} s ({result['events_per_second']:,.0f} a second); "
            f"from insert to routed p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )
        if self._options.once and self._options.rate is None:
            self._say(
                "these times are those of a queue: --once inserts everything at once, and the last event waits for all "
                "others; with --rate 200 they are those of events as they come"
            )
        return result

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def credentials(server: EmbeddedPostgres) -> tuple[Path, Path]:
    """Files in the server's folder that hold its URL, and its password for libpq; nobody else can read them.

    A password on a command line would show in the list of processes, and stay in the history of a shell.
    """
    texts = {
        server.folder / "database-url": server.dsn(),
        server.folder / "pgpass": f"{HOST}:{server.port}:*:{SUPERUSER}:{server.password}",
    }
    for file, text in texts.items():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as secret:
            secret.write(f"{text}\n")
    url, passwords = texts
    return url, passwords


def program() -> str:
    """How a shell in this folder calls the program that runs."""
    installed = Path(sys.executable).with_name("webhook-router")
    if not installed.exists():
        return f"{shlex.quote(sys.executable)} -m consumer"
    found = shutil.which(installed.name)
    if found is not None and Path(found).samefile(installed):
        return installed.name
    here = Path.cwd()
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))
