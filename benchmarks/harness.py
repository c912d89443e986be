"""What the measurements share: a server, databases copied from templates, the service as a process, report rows."""

import contextlib
import itertools
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from rich.console import Console

from benchmarks import events
from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import EmbeddedPostgres, all_binaries

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
    "track_commit_timestamp": "on",
}
"""Durable, and sized for a small server. Commit timestamps are how effects are timed without an observer."""
ROOT = Path(__file__).resolve().parent.parent
SERVICE_SECONDS = 60.0
FULL_SECONDS = 1800.0
"""What a full run may take: towards its end, measurements make fewer pairs, and the last ones may be left out."""

Sense = Literal[">=", "<=", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report: what was measured against which target."""

    key: str
    what: str
    measured: float | None
    """None: not measured, and the note says why."""
    target: float | None = None
    sense: Sense = ""
    unit: str = "×"
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """met, missed, reported (there is no target) or skipped."""
        if self.measured is None:
            return "skipped"
        if self.target is None:
            return "reported"
        good = self.measured >= self.target if self.sense == ">=" else self.measured <= self.target
        return "met" if good else "missed"


class Bench:
    """One run on one machine: the server, its templates, how much to do, and what came out."""

    def __init__(
        self, *, quick: bool, console: Console, server: EmbeddedPostgres | None = None, against: Path | None = None
    ) -> None:
        """`server`: one that runs already and that somebody else stops; otherwise the `with` block starts one.

        `against`: another checkout, beside which some measurements put this one.
        """
        self.against = against
        self.quick = quick
        self.console = console
        self.rows: list[Row] = []
        self.facts: dict[str, Any] = {}
        """What later measurements need of earlier ones, such as the peak rate."""
        self.seconds: dict[str, float] = {}
        """Duration of each measurement."""
        self._started = time.monotonic()
        self._server = server
        self._numbers = itertools.count()
        self._templates: dict[str, str] = {}

    def __enter__(self) -> Self:
        binaries = max(all_binaries(), key=lambda b: b.major)
        self._server = EmbeddedPostgres.start(binaries=binaries, settings=SETTINGS)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop("immediate")  # its data go as well

    @property
    def server(self) -> EmbeddedPostgres:
        """The server of this run."""
        assert self._server is not None
        return self._server

    def pick(self, *, quick: Any, full: Any) -> Any:  # noqa: ANN401
        """The one that belongs to the form of this run."""
        return quick if self.quick else full

    def rounds(self, full: int) -> int:
        """How many pairs to measure: `full`, fewer when the time of a full run gets short, one in a quick one."""
        left = FULL_SECONDS - (time.monotonic() - self._started)
        if self.quick or left < FULL_SECONDS / 10:
            return 1
        return full if left > FULL_SECONDS / 4 else min(full, 2)

    def late(self) -> bool:
        """Whether the time of a full run is over."""
        return not self.quick and time.monotonic() - self._started > FULL_SECONDS

    def say(self, text: str) -> None:
        """A line of progress."""
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {text}", highlight=False)

    def add(self, row: Row) -> None:
        """Adds a row to the report and shows it."""
        self.rows.append(row)
        self.say(f"  [bold]{row.what}[/bold]: {shown(row)} {row.verdict} {row.note}")

    # Databases

    def database(self, template: str | None = None) -> str:
        """The name of a new database: a copy of a template, or one with the schema and nothing in it."""
        name = f"bench_{next(self._numbers)}"
        source = template or self.schema()
        copy = sql.SQL("create database {} template {} strategy file_copy")
        if self.server.major < 15:
            copy = sql.SQL("create database {} template {}")
        self.admin(copy.format(sql.Identifier(name), sql.Identifier(source)))
        return name

    def schema(self) -> str:
        """The template that has the schema only."""
        return self.template("schema", lambda _: None, source="template1")

    def backlog(self, count: int, *, analysed: bool = True) -> str:
        """The template with `count` pending events, vacuumed, with or without statistics."""

        def fill(dsn: str) -> None:
            with connect(dsn) as connection:
                events.load(connection, count)
                # Hint bits and the visibility map, as after any night; statistics of all tables only where wanted.
                connection.execute("vacuum analyze" if analysed else "vacuum public.webhook_events")

        return self.template(f"backlog_{count}_{analysed}", fill, source=self.schema())

    def template(self, key: str, fill: Callable[[str], None], *, source: str) -> str:
        """The template of that name, made once by `fill`, which gets the DSN of a copy of `source`."""
        if key not in self._templates:
            name = f"template_{key}".lower()
            self.admin(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(source)))
            if key == "schema":
                migrator.migrate(self.dsn(name))
            fill(self.dsn(name))
            self._templates[key] = name
        return self._templates[key]

    def drop(self, name: str) -> None:
        """Drops a database, even while sessions are connected."""
        self.admin(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def scratch(self, template: str | None = None) -> Iterator[str]:
        """The DSN of a new database that lives for one measurement."""
        name = self.database(template)
        try:
            yield self.dsn(name)
        finally:
            self.drop(name)

    def dsn(self, name: str) -> str:
        """The DSN of a database."""
        return self.server.dsn(name)

    def admin(self, statement: sql.Composable | str) -> None:
        """Runs one statement outside the measured databases."""
        with connect(self.server.dsn()) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


def connect(dsn: str, **options: Any) -> psycopg.Connection:  # noqa: ANN401
    """A connection in autocommit."""
    return psycopg.connect(dsn, autocommit=True, **options)


def value(connection: psycopg.Connection, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:  # noqa: ANN401
    """The first column of the first row."""
    row = connection.execute(query, parameters or None).fetchone()
    return None if row is None else row[0]


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """`python -m consumer run` as a process of its own; ends with its `with` block."""

    def __init__(
        self,
        dsn: str,
        *,
        program: Sequence[str] = (sys.executable, "-m", "consumer", "run"),
        folder: Path = ROOT,
        **settings: object,
    ) -> None:
        self.port = free_port()
        chosen = {"database_url": dsn, "http_port": self.port, "log_level": "warning", "log_format": "text"} | settings
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WEBHOOK_ROUTER_")}
        environment |= {f"WEBHOOK_ROUTER_{name.upper()}": str(given) for name, given in chosen.items()}
        self.started = time.time()
        self.process = subprocess.Popen(list(program), cwd=folder, env=environment, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> str:
        """The body of a page of its HTTP server."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body.decode()

    def await_ready(self) -> Self:
        """Returns when /readyz says yes."""
        deadline = time.monotonic() + SERVICE_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError):
                self.get("/readyz")
                return self
            time.sleep(0.02)
        raise RuntimeError("the service is not ready")

    def await_listening(self) -> Self:
        """Returns when notifications arrive."""
        deadline = time.monotonic() + SERVICE_SECONDS
        while self.await_ready().series("webhook_router_listener_up") != 1:
            if time.monotonic() > deadline:
                raise RuntimeError("the service does not listen")
            time.sleep(0.02)
        return self

    def check(self) -> None:
        """Raises when the process has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the service ended with exit code {self.process.returncode}")

    def rss(self) -> int:
        """Resident memory in bytes."""
        answer = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return int(answer.stdout) * 1024

    def series(self, name: str) -> float:
        """The sum of the samples of one metric over its labels."""
        total = 0.0
        for line in self.get("/metrics").splitlines():
            if line.startswith(name) and line[len(name)] in "{ ":
                total += float(line.rsplit(" ", 1)[1])
        return total


def await_routed(dsn: str, service: Service | None = None, *, seconds: float = 300.0) -> None:
    """Returns when no event is ready any more.

    It looks at one row, the one that arrived last, since counting would take part in what is measured.
    """
    with connect(dsn) as connection:
        last = value(connection, "select id from public.webhook_events order by created_at desc, id desc limit 1")
        look = "select routed_at is not null or parked_until is not null from public.webhook_events where id = %s"
        deadline = time.monotonic() + seconds
        while not value(connection, look, (last,)) or pending(connection):
            if service is not None:
                service.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{pending(connection)} events are not routed after {seconds:g} s")
            time.sleep(0.05)


def pending(connection: psycopg.Connection) -> int:
    """How many events are ready to be routed."""
    return int(
        value(connection, "select count(*) from public.webhook_events where routed_at is null and parked_until is null")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One backlog, routed."""

    events: int
    seconds: float
    """From the first commit to the last."""
    batches: int

    @property
    def rate(self) -> float:
        """Events a second between the first commit and the last; the first batch came before the clock started."""
        return self.events / self.seconds if self.seconds else float("nan")


def committed(dsn: str, *, like: str = "%") -> Drain:
    """What the commit timestamps of routed events say. Start-up is not in it: it depends on Python, not on routing."""
    with connect(dsn) as connection:
        row = connection.execute(
            """
            select sum(n), count(*), extract(epoch from max(at) - min(at)), (array_agg(n order by at))[1]
            from (select pg_xact_commit_timestamp(w.xmin) as at, count(*) as n
                  from public.webhook_events w
                  where w.routed_at is not null and w.event_id like %s and w.xmin::text::bigint > 2
                  group by 1) b
            """,
            (like,),
        ).fetchone()
    assert row is not None
    return Drain(events=int(row[0] - row[3]), seconds=float(row[2]), batches=row[1])


def drain(dsn: str, *, replicas: int = 1, **settings: object) -> Drain:
    """Starts the service on a database with a backlog and returns when all of it is routed."""
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(Service(dsn, **settings)) for _ in range(replicas)]
        await_routed(dsn, services[0])
    return committed(dsn)


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], q: float) -> float:
    """The q-quantile, interpolated."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def shown(row: Row) -> str:
    """The measured value with its unit."""
    if row.measured is None:
        return "–"
    digits = 3 if abs(row.measured) < 10 else 1 if abs(row.measured) < 1000 else 0
    return f"{row.measured:,.{digits}f} {row.unit}"


def machine(bench: Bench) -> dict[str, Any]:
    """What ran where."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    with connect(bench.server.dsn()) as connection:
        postgres = value(connection, "show server_version")
        settings = {name: value(connection, "select current_setting(%s)", (name,)) for name in SETTINGS}
    return {
        "processor": processor,
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "postgres": postgres,
        "settings": settings,
    }
