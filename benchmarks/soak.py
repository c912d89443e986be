"""Half an hour of live traffic: `python -m benchmarks.soak --minutes 30`, or `make soak MINUTES=30`."""

import argparse
import json
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import live
from benchmarks.harness import ROOT, Bench, machine, percentile
from benchmarks.report import FIGURES, record

SAMPLES_A_RUN = 30
MB = 1e6


def report(seen: dict[str, Any]) -> dict[str, Any]:
    """The figures of one soak, from what was seen."""
    samples, last = seen["samples"], seen["samples"][-1]
    first = samples[0]
    events = live.inserted(last) - live.inserted(first)
    hours = (last["at"] - first["at"]) / 3600
    checkpointed = next((s for s in samples if s["checkpoints"] != first["checkpoints"]), None)
    ordered = sorted(seen["latencies"])
    quarter = max(1, len(ordered) // 4)
    parts = {"first": [ms for _, ms in ordered[:quarter]], "last": [ms for _, ms in ordered[-quarter:]]}
    return {
        "events": events,
        "minutes": seen["seconds"] / 60,
        "rate": seen["rate"],
        **live.costs(seen),
        **{f"p{q}_{name}_ms": percentile(ms, q / 100) for name, ms in parts.items() for q in (50, 99)},
        "wal_before_checkpoint": live.an_event(first, checkpointed or last, "wal"),
        "wal_after_checkpoint": live.an_event(checkpointed, last, "wal")
        if checkpointed is not None and checkpointed is not last
        else None,
        "full_pages": live.an_event(first, last, "full_pages"),
        "bytes_an_event": live.an_event(first, last, "bytes"),
        "gb_a_day": (last["bytes"] - first["bytes"]) / 1e9 / hours * 24,
        "memory_mb": {"first": samples[min(1, len(samples) - 1)]["memory"] / MB, "last": last["memory"] / MB},
        "claim_pages_beginning": seen["claim_pages_beginning"],
        "claim_pages_watermark": seen["claim_pages_watermark"],
        "indexes_mb": {name: size / MB for name, size in seen["indexes"].items()},
        "tables": {
            name: {
                "dead_most": max(s["tables"][name]["dead"] for s in samples),
                "dead_last": last["tables"][name]["dead"],
                "vacuums": last["tables"][name]["vacuums"] - first["tables"][name]["vacuums"],
                "heap_mb": last["tables"][name]["heap"] / MB,
                "indexes_mb": last["tables"][name]["indexes"] / MB,
            }
            for name in last["tables"]
        },
        "wal_over_time": [
            round(live.an_event(a, b, "wal")) for a, b in pairwise(samples) if live.inserted(a) != live.inserted(b)
        ],
    }


def rows(of: dict[str, Any]) -> list[tuple[str, str]]:
    """What a report says, line by line."""
    after = of["wal_after_checkpoint"]
    lines = [
        ("events", f"{of['events']:,} in {of['minutes']:g} minutes, {of['rate']:g}/s offered"),
        (
            "CPU an event: backends + Python",
            f"{of['backends_us']:.0f} + {of['python_us']:.0f} = {of['cpu_us']:.0f} µs",
        ),
        ("latency, commit to commit, p50 / p99", f"{of['p50_ms']:.1f} / {of['p99_ms']:.1f} ms"),
        ("in its first quarter", f"{of['p50_first_ms']:.1f} / {of['p99_first_ms']:.1f} ms"),
        ("in its last quarter", f"{of['p50_last_ms']:.1f} / {of['p99_last_ms']:.1f} ms"),
        ("events a batch", f"{of['events_a_batch']:.2f}"),
        ("transaction ids an event, its insert's own included", f"{of['xids']:.2f}"),
        ("WAL an event", f"{of['wal_bytes']:,.0f} B"),
        ("up to the first checkpoint", f"{of['wal_before_checkpoint']:,.0f} B"),
        ("after the first checkpoint", "no checkpoint came" if after is None else f"{after:,.0f} B"),
        ("full pages in WAL, an event", f"{of['full_pages']:.3f}"),
        ("growth an event", f"{of['bytes_an_event']:,.0f} B, {of['gb_a_day']:.1f} GB a day"),
        ("memory of the service, first to last", "{first:.0f} to {last:.0f} MB".format(**of["memory_mb"])),
        (
            "pages that a claim touches at the end, from the beginning / from one second back",
            f"{of['claim_pages_beginning']:,} / {of['claim_pages_watermark']:,}",
        ),
    ]
    lines += [
        (
            f"`{name}`: dead rows at most / at the end; vacuums; heap; indexes",
            f"{t['dead_most']:,} / {t['dead_last']:,}; {t['vacuums']}; {t['heap_mb']:.0f} MB; {t['indexes_mb']:.0f} MB",
        )
        for name, t in sorted(of["tables"].items())
    ]
    return lines


def markdown(recorded: dict[str, Any]) -> str:
    """The table for docs/performance.md: before and now, those that were recorded."""
    found = [(title, recorded[name]) for name, title in (("before", "before"), ("now", "now")) if name in recorded]
    if not found:
        return "No soak is recorded yet: `make soak MINUTES=30 SOAK_ARGS='--record now'` records one."
    machines = [
        f"{title}: version {of['version']}, {of['date']}, {of['machine']['cpus']} CPUs, Postgres "
        f"{of['machine']['postgres']}"
        for title, of in found
    ]
    told_of = "; ".join(machines)
    lines = [f"{told_of[0].upper()}{told_of[1:]}.", ""]
    lines += [f"| what | {' | '.join(title for title, _ in found)} |", "|---|" + "---:|" * len(found)]
    told = [dict(rows(of["report"])) for _, of in found]
    lines += [f"| {what} | {' | '.join(one.get(what, '–') for one in told)} |" for what in told[-1]]
    return "\n".join(lines)


def keep(part: str, result: dict[str, Any]) -> None:
    """Records a result in docs/figures.json; `make docs` writes the page."""
    soaks = json.loads(FIGURES.read_text(encoding="utf-8")).get("soak", {})
    record("soak", soaks | {part: result})


def main() -> int:
    """Measures, or takes a saved report, and shows it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long events arrive")
    parser.add_argument("--rate", type=float, default=live.RATE, help="events a second, one a commit")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose service and schema; this one's otherwise")
    parser.add_argument("--record", choices=("now", "before"), help="keep it in docs/figures.json under this name")
    parser.add_argument("--of", type=Path, help="a report that was saved before, instead of measuring")
    parser.add_argument("--json", type=Path, help="where the report goes instead of benchmarks/results/soak.json")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if arguments.of:
        result = json.loads(arguments.of.read_text(encoding="utf-8"))
    else:
        checkout, seconds = arguments.checkout.resolve(), arguments.minutes * 60
        version = live.version_of(checkout)  # of what is started now, whatever is committed meanwhile
        with Bench(quick=False, console=console) as bench:
            bench.say(f"{arguments.rate:g} events/s for {arguments.minutes:g} minutes")
            seen = live.traffic(
                bench, checkout, rate=arguments.rate, seconds=seconds, every=max(1.0, seconds / SAMPLES_A_RUN)
            )
            result = {
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "version": version,
                "machine": machine(bench),
                "report": report(seen),
            }
        target = arguments.json or ROOT / "benchmarks" / "results" / "soak.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        console.print(f"written: {target}", highlight=False)
    for what, told in rows(result["report"]):
        console.print(f"  {what}: [bold]{told}[/bold]", highlight=False)
    console.print("  WAL an event over time: " + " ".join(map(str, result["report"]["wal_over_time"])), highlight=False)
    if arguments.record:
        keep(arguments.record, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
