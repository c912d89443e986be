"""`python -m tests.chaos`: what `make chaos` runs."""

import argparse
import logging
import sys
from pathlib import Path

from tests.chaos.driver import Options, drive, unsurvived
from tests.chaos.faults import FAULTS
from tests.chaos.possible import excused
from tests.chaos.report import put_into


def main() -> int:
    """0 when the ledger finds nothing wrong, 1 when it does, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Real servers, several replicas, faults at random; a ledger outside accounts for every event.",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same faults and the same traffic")
    parser.add_argument("--minutes", type=float, default=5, help="how long faults go on")
    parser.add_argument("--events", type=int, default=0, help="go on until so many events are acknowledged")
    parser.add_argument("--posts", type=int, default=0, help="go on until so many POSTs got 200")
    parser.add_argument("--rate", type=float, default=Options(seed=0, minutes=0).rate, help="events a second")
    parser.add_argument(
        "--posted", type=float, default=Options(seed=0, minutes=0).posted, help="events a second that providers POST"
    )
    parser.add_argument(
        "--fault", action="append", default=[], choices=sorted(FAULTS), metavar="NAME", help="only this"
    )
    parser.add_argument("--no-kafka", action="store_true", help="without a Kafka cluster")
    parser.add_argument("--report", type=Path, metavar="FILE", help="where the report goes, as JSON")
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown whose generated block is replaced")
    parser.add_argument("--list", action="store_true", help="list the faults")
    given = parser.parse_args()
    if given.list:
        for fault in FAULTS.values():
            sys.stdout.write(f"{fault.name:32} {fault.text}\n")
        return 0
    options = Options(
        seed=given.seed,
        minutes=given.minutes,
        events=given.events,
        posts=given.posts,
        rate=given.rate,
        posted=given.posted,
        only=tuple(given.fault),
        kafka=not given.no_kafka,
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its complaints about broken brokers are expected here
    report = drive(options)
    sys.stdout.write(report.markdown())
    if given.report is not None:
        given.report.write_text(report.json(), encoding="utf-8")
    if given.document is not None:
        put_into(given.document, report.markdown())
    asked_without = {f.name for f in FAULTS.values() if given.no_kafka and f.needs == "kafka"}
    unexcused = {n: why for n, why in report.impossible.items() if n not in asked_without and not excused(why)}
    for name, reason in unexcused.items():
        sys.stderr.write(f"not tried: {name}: {reason}\n")
    if report.passed:
        return 1 if unexcused else 0
    for name, count in report.violations.items():
        sys.stderr.write(f"{name}: {count}, for example {report.examples.get(name)}\n")
    for entry in unsurvived(report):
        sys.stderr.write(f"not survived: {entry.text}\n")
    sys.stderr.write(f"the same again: {report.command}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
