"""How long the program takes to start: `--help`, and `run` until it is ready."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Bench, Row, median
from benchmarks.live import ServiceOf, beside, cpu_of, database_of, python_of


class Start(NamedTuple):
    """One start."""

    seconds: float
    """From the fork to the end, or until it was ready: within 20 ms, which is how often it is asked."""
    cpu: float
    """Seconds of CPU of the process by then."""


def help_of(checkout: Path) -> Start:
    """`webhook-router --help`, to its end."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [python_of(checkout), "-m", "consumer", "--help"], cwd=checkout, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    taken = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"--help ended with exit code {process.returncode}")
    return Start(taken, used.ru_utime + used.ru_stime)


def run_of(checkout: Path, dsn: str) -> Start:
    """`webhook-router run` on a database that is migrated, until /readyz says yes."""
    begun = time.perf_counter()
    with ServiceOf(checkout, dsn) as service:
        service.await_ready()
        return Start(time.perf_counter() - begun, cpu_of(service.process.pid) or 0.0)


def measure(bench: Bench) -> None:
    """Both, in turns with the other checkout where there is one; the first start of each, which reads files, is not
    counted."""
    bench.say("starts")
    rounds = bench.rounds(11)
    sides = beside(bench)
    _add(bench, "start-help", "--help", _in_turns(rounds, {name: partial(help_of, at) for name, at in sides}), 0.25)
    with contextlib.ExitStack() as databases:
        runs = {name: partial(run_of, at, databases.enter_context(database_of(bench, at))) for name, at in sides}
        _add(bench, "start-run", "run, until it is ready", _in_turns(rounds, runs), None)


def _in_turns(rounds: int, sides: Mapping[str, Callable[[], Start]]) -> dict[str, list[Start]]:
    found: dict[str, list[Start]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = sides[name]()
            if number:
                found[name].append(start)
    return found


def _add(bench: Bench, key: str, what: str, found: dict[str, list[Start]], target: float | None) -> None:
    here, other = found[""], found.get("against", [])
    note = f"CPU {median([start.cpu for start in here]):.2f} s"
    if other:
        ratios = [a.seconds / b.seconds for a, b in zip(here, other, strict=True)]
        note += (
            f"; the other checkout {median([start.seconds for start in other]):.2f} s, CPU "
            f"{median([start.cpu for start in other]):.2f} s, median of the ratios of pairs {median(ratios):.2f}"
        )
    bench.add(
        Row(
            key=key,
            what=f"webhook-router {what}",
            measured=median([start.seconds for start in here]),
            target=target,
            sense="" if target is None else "<=",
            unit="s",
            note=note,
            details={"here": here, "against": other},
        )
    )
