"""What people who look on cost: the service with 50 open pages, beside the same without any.

The pages are read by a process of their own, which throws away what comes: a browser's work is done on another machine.
On a small machine even that takes processors from the service and the server, so what the service itself has used of
them is told as well.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks import events
from benchmarks.harness import ROOT, Bench, Row, Service, await_routed, committed, connect, median
from benchmarks.latency import CLIENTS
from benchmarks.writers import Writers

PAGES: Final = 50
SWEEP_EVERY: Final = 1.0
"""Seconds: a backlog rings for nobody, and an event that commits late is not to be waited for."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Readers:
    """Open pages, as a process; ends with its `with` block."""

    def __init__(self, port: int, pages: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.page_readers", str(port), str(pages)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.messages = self.bytes = 0

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "all are open\n":
            self._process.wait()
            raise RuntimeError("the pages' streams cannot be read")
        return self

    def __exit__(self, *_: object) -> None:
        told, _none = self._process.communicate(timeout=30)
        if self._process.returncode == 0:
            self.messages, self.bytes = map(int, told.split())

    def cpu(self) -> float:
        """Seconds of a processor that it has used."""
        return cpu_of(self._process.pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One backlog, or some seconds of traffic."""

    events: int
    per_second: float
    cpu: float
    """Seconds of a processor that the service has used meanwhile."""
    readers_cpu: float
    messages: int

    @property
    def cpu_each(self) -> float:
        """Microseconds of a processor an event."""
        return self.cpu / self.events * 1e6


def cpu_of(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextlib.contextmanager
def watched(service: Service, pages: int) -> Iterator[Readers | None]:
    """The service while so many pages are open."""
    if not pages:
        yield None
        return
    with Readers(service.port, pages) as readers:
        yield readers


def backlog(bench: Bench, count: int, pages: int) -> Run:
    """So many events that arrive at once, while the pages are open."""
    with bench.scratch() as dsn, Service(dsn, reconcile_interval=SWEEP_EVERY) as service:
        service.await_listening()
        with watched(service, pages) as readers:
            used = cpu_of(service.process.pid), readers.cpu() if readers else 0.0
            with connect(dsn) as connection:
                events.load(connection, count)
            await_routed(dsn, service)
            cpu = cpu_of(service.process.pid) - used[0]
            readers_cpu = readers.cpu() - used[1] if readers else 0.0
        done = committed(dsn)
    return Run(
        events=count,
        per_second=done.rate,
        cpu=cpu,
        readers_cpu=readers_cpu,
        messages=readers.messages if readers else 0,
    )


def traffic(bench: Bench, seconds: float, pages: int) -> Run:
    """Events one a commit, as fast as writers make them, while the pages are open."""
    with bench.scratch() as dsn, Service(dsn, reconcile_interval=SWEEP_EVERY) as service:
        service.await_listening()
        with watched(service, pages) as readers:
            used, begun = cpu_of(service.process.pid), time.perf_counter()
            written = Writers(bench, dsn, clients=CLIENTS, seconds=seconds).finish()
            await_routed(dsn, service)
            took = time.perf_counter() - begun
            cpu = cpu_of(service.process.pid) - used
            readers_cpu = readers.cpu() if readers else 0.0
    return Run(
        events=written.events,
        per_second=written.events / took,
        cpu=cpu,
        readers_cpu=readers_cpu,
        messages=readers.messages if readers else 0,
    )


def at_rest(bench: Bench, seconds: float) -> tuple[float, float]:
    """Shares of a processor that a service without any event uses: alone, and while the pages are open."""
    found = []
    with bench.scratch() as dsn, Service(dsn) as service:
        service.await_listening()
        for pages in (0, PAGES):
            with watched(service, pages):
                used, begun = cpu_of(service.process.pid), time.perf_counter()
                time.sleep(seconds)
                found.append((cpu_of(service.process.pid) - used) / (time.perf_counter() - begun))
    return found[0], found[1]


def measure(bench: Bench) -> None:
    """Pairs, in turns with and without first, so that neither has the warmer caches."""
    if not Path("/proc/self/stat").exists():
        bench.add(Row(key="pages", what="open pages", measured=None, note="needs /proc"))
        return
    count = bench.pick(quick=20_000, full=60_000)
    bench.say(f"{PAGES} open pages, backlog of {count:,}")
    backlog(bench, bench.pick(quick=2_000, full=10_000), 0)  # Python's files come into the cache
    pairs = [_pair(number, lambda pages: backlog(bench, count, pages)) for number in range(bench.rounds(3))]
    _row(bench, "pages", f"throughput of a backlog of {count:,} with {PAGES} open pages ÷ without", pairs)
    alone, seen = at_rest(bench, bench.pick(quick=3, full=10))
    bench.add(
        Row(
            key="pages-cpu",
            what=f"of a processor, what the service takes for {PAGES} open pages",
            measured=seen - alone,
            target=0.05,
            sense="<=",
            note=f"at rest: {seen:.1%} with them, {alone:.1%} without",
        )
    )
    seconds = bench.pick(quick=2, full=5)
    live = [_pair(number, lambda pages: traffic(bench, seconds, pages)) for number in range(bench.rounds(2))]
    _row(bench, "pages-live", f"throughput of events one a commit with {PAGES} open pages ÷ without", live)


def _pair(number: int, run: Callable[[int], Run]) -> tuple[Run, Run]:
    """Without and with the pages."""
    if number % 2:
        watched_run = run(PAGES)
        return run(0), watched_run
    return run(0), run(PAGES)


def _row(bench: Bench, key: str, what: str, pairs: list[tuple[Run, Run]]) -> None:
    ratios = [seen.per_second / alone.per_second for alone, seen in pairs]
    cpu = [seen.cpu_each / alone.cpu_each for alone, seen in pairs]
    if not all(seen.messages for _, seen in pairs):
        raise RuntimeError("nothing came over the pages' streams")
    details = {
        "ratios": ratios,
        "cpu_ratios": cpu,
        "per_second": [alone.per_second for alone, _ in pairs],
        "watched_per_second": [seen.per_second for _, seen in pairs],
        "cpu_us_an_event": [alone.cpu_each for alone, _ in pairs],
        "watched_cpu_us_an_event": [seen.cpu_each for _, seen in pairs],
        "readers_cpu_seconds": [seen.readers_cpu for _, seen in pairs],
        "messages": [seen.messages for _, seen in pairs],
    }
    note = (
        f"{median(details['watched_per_second']):,.0f}/s against {median(details['per_second']):,.0f}/s; "
        f"the service itself used {median(details['watched_cpu_us_an_event']):.1f} µs of a processor an event "
        f"against {median(details['cpu_us_an_event']):.1f}"
    )
    bench.add(Row(key=key, what=what, measured=median(ratios), target=0.95, sense=">=", note=note, details=details))
