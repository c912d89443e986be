"""The command: `python -m benchmarks --quick | --full [--only NAME …] [--against DIR]`, or `--profile`."""

import argparse
import asyncio
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import (
    brownfield,
    deletion,
    history,
    ingest,
    intake,
    latency,
    live,
    memory,
    pages,
    profile,
    queues,
    report,
    snapshot,
    start,
    throughput,
)
from benchmarks import kafka as kafka_source
from benchmarks.harness import ROOT, Bench, Row, machine


def kafka(bench: Bench) -> None:
    """The Kafka source beside the Postgres source, and beside a bare consumer."""
    if bench.quick:
        bench.add(Row(key="kafka", what="Kafka source", measured=None, note="in the full form only: needs a broker"))
        return
    bench.say("Kafka")
    figures = asyncio.run(kafka_source.measure(quick=bench.quick))
    if reason := figures.get("skipped"):
        bench.add(Row(key="kafka", what="Kafka source", measured=None, note=reason))
        return
    for key, what in (("of_postgres_source", "the Postgres source"), ("of_bare", "a bare consumer with bare SQL")):
        bench.add(
            Row(
                key=f"kafka-{key}",
                what=f"Kafka source, records → routed ÷ {what}",
                measured=figures[key],
                note=f"{figures['events_per_second']:,.0f}/s against "
                f"{figures['postgres_source_per_second' if key == 'of_postgres_source' else 'bare_per_second']:,.0f}/s",
                details=figures,
            )
        )


def history_and_memory(bench: Bench) -> None:
    """Two that take long, side by side, since one of them measures no time."""
    history.measure(bench, lambda: memory.flat(bench))


# The first one finds the peak rate, which others are compared with.
MEASUREMENTS: dict[str, Callable[[Bench], None]] = {
    "bare": throughput.against_bare,
    "original": throughput.against_original,
    "queues": queues.measure,
    "idle": latency.idle,
    "loaded": latency.loaded,
    "tax": ingest.tax,
    "notifies": ingest.notifications,
    "snapshot": snapshot.old_snapshot,
    "history": history.measure,
    "memory": memory.flat,
    "parked": throughput.parked_head,
    "statistics": throughput.never_analysed,
    "replicas": throughput.replicas,
    "sizes": throughput.batch_sizes,
    "brownfield": brownfield.compare,
    "kafka": kafka,
    "intake": intake.measure,
    "pages": pages.measure,
    "deletion": deletion.measure,
    "start": start.measure,
    "alone": live.alone,
    "live": live.steady,
    "live-peak": live.peak,
}


def main() -> int:
    """Runs what was asked for; 1 when a measurement could not be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures webhook-router.")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true", help="a look at everything in under two minutes")
    form.add_argument("--full", action="store_true", help="every figure of docs/reference/figures.md, half an hour")
    form.add_argument(
        "--profile", action="store_true", help="where the time of a batch goes, and what each index costs"
    )
    parser.add_argument("--only", action="append", choices=sorted(MEASUREMENTS), help="only this one; may be repeated")
    parser.add_argument(
        "--against", type=Path, help="another checkout, beside which start, alone, live, live-peak are put"
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="with --full --only: keep these rows in docs/figures.json, each with its date",
    )
    parser.add_argument("--json", type=Path, help="where the results go instead of benchmarks/results/")
    arguments = parser.parse_args()
    if arguments.record and not (arguments.full and arguments.only):
        parser.error("--record goes with --full --only NAME: a complete run is recorded anyway, a quick one never")
    console = Console(width=None if sys.stdout.isatty() else 200)
    if arguments.profile:
        with Bench(quick=False, console=console) as bench:
            profile.run(bench)
        return 0
    chosen = [name for name in MEASUREMENTS if not arguments.only or name in arguments.only]
    started, failed = time.monotonic(), []
    against = arguments.against.resolve() if arguments.against else None
    with Bench(quick=arguments.quick, console=console, against=against) as bench:
        about_machine = machine(bench)
        if "bare" not in chosen and {"original", "queues", "loaded"} & set(chosen):
            chosen.insert(0, "bare")
        together = {"history", "memory"} <= set(chosen)
        for name in chosen:
            measurement = MEASUREMENTS[name]
            if together and name == "memory":
                continue
            if together and name == "history":
                measurement = history_and_memory
            if bench.late():
                bench.add(Row(key=name, what=name, measured=None, note=f"the time was over: --full --only {name}"))
                continue
            begun = time.monotonic()
            try:
                measurement(bench)
            except Exception as error:  # noqa: BLE001 - the others are still worth having
                failed.append(name)
                traceback.print_exc()
                bench.add(Row(key=name, what=name, measured=None, note=f"failed: {error}"))
            bench.seconds[name] = round(time.monotonic() - begun, 1)
        about = {
            "form": "quick" if arguments.quick else "full",
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "minutes": (time.monotonic() - started) / 60,
            "version": described(),
            "machine": about_machine,
            "seconds_by_measurement": bench.seconds,
        }
        if arguments.record:
            report.record_rows([row for row in bench.rows if row.measured is not None], about)
        report.write(bench.rows, about, console=console, json_path=arguments.json, complete=not arguments.only)
    return 1 if failed else 0


def described() -> str:
    """The version, with the commit where this is a checkout."""
    number = version("webhook-router")
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{number} ({commit})" if commit else number


if __name__ == "__main__":
    sys.exit(main())
