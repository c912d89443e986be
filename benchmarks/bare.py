"""The bare limit: how fast this server writes the final rows when every id is known beforehand."""

import time
from pathlib import Path

from benchmarks.harness import Bench, connect

SQL = (Path(__file__).parent / "bare.sql").read_text(encoding="utf-8")
FORMS = {
    "one statement": "call bare.whole()",
    "one transaction": "call bare.steps()",
    "batches of 1,000": "call bare.batches(1000)",
    "batches of 5,000": "call bare.batches(5000)",
    "batches of 20,000": "call bare.batches(20000)",
}
Outcome = list[tuple[str, int, int]]


def template(bench: Bench, count: int) -> str:
    """The template of the backlog with its final rows worked out beside it."""

    def fill(dsn: str) -> None:
        with connect(dsn) as connection:
            connection.execute(SQL)
            connection.execute("call bare.prepare()")

    return bench.template(f"bare_{count}", fill, source=bench.backlog(count))


def run(dsn: str, form: str) -> float:
    """Writes the rows in one of the forms; returns the seconds."""
    with connect(dsn) as connection:
        started = time.perf_counter()
        connection.execute(FORMS[form].encode())
        return time.perf_counter() - started


def outcome(dsn: str) -> Outcome:
    """What is in the tables, comparable between databases."""
    with connect(dsn) as connection:
        if connection.execute("select to_regnamespace('bare') is null").fetchone() == (True,):
            connection.execute(SQL)
        return [(row[0], row[1], int(row[2])) for row in connection.execute("select * from bare.outcome()")]


def fastest_form(bench: Bench, count: int) -> tuple[str, dict[str, float]]:
    """Tries every form once on a backlog of `count`; the name of the fastest, and the rate of each."""
    rates = {}
    source = template(bench, count)
    for form in FORMS:
        with bench.scratch(source) as dsn:
            rates[form] = count / run(dsn, form)
    return max(rates, key=lambda form: rates[form]), rates
