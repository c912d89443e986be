"""The bare limit: how fast this server writes the final rows when every id is known beforehand."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Bench, connect, value

SQL = (Path(__file__).parent / "bare.sql").read_text(encoding="utf-8")
Outcome = list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to write the rows."""

    name: str
    call: str
    """With two placeholders where it takes a range of the events."""
    sessions: int = 1


AS_SERVICE = Form(name="batches of 1,000", call="call bare.batches(1000, {}, {})")
FORMS = (
    Form(name="one statement", call="call bare.whole()"),
    Form(name="one transaction", call="call bare.steps()"),
    AS_SERVICE,
    Form(name="batches of 5,000", call="call bare.batches(5000, {}, {})"),
    Form(name="batches of 1,000 in two sessions", call="call bare.batches(1000, {}, {})", sessions=2),
    Form(name="batches of 5,000 in two sessions", call="call bare.batches(5000, {}, {})", sessions=2),
    Form(name="two transactions side by side", call="call bare.steps({}, {})", sessions=2),
)


def template(bench: Bench, count: int, sessions: int = 1) -> str:
    """The template of the backlog with its final rows worked out beside it, split for so many sessions."""

    def fill(dsn: str) -> None:
        with connect(dsn) as connection:
            connection.execute(SQL)
            connection.execute("call bare.prepare()")
            connection.execute("create table bare.ends as select bare.split(%s) as part_ends", (sessions,))
            connection.execute("vacuum analyze bare.contact, bare.conversation, bare.message")

    return bench.template(f"bare_{count}_{sessions}", fill, source=bench.backlog(count))


def run(bench: Bench, form: Form, count: int, compare: list[Outcome] | None = None) -> float:
    """Writes the rows of a backlog in a fresh database; returns events a second, and adds what is in the tables."""
    with bench.scratch(template(bench, count, form.sessions)) as dsn:
        with connect(dsn) as connection:
            ends = value(connection, "select part_ends from bare.ends")
        sessions = [connect(dsn) for _ in range(form.sessions)]
        for session in sessions:
            # Plans, those of foreign keys above all, are made while tables are empty and kept while they grow.
            session.execute(f"set enable_seqscan = {'off' if '{}' in form.call else 'on'}".encode())
        calls = [form.call.format(after, end) for after, end in zip([0, *ends], ends, strict=False)]
        threads = [
            threading.Thread(target=session.execute, args=(call.encode(),))
            for session, call in zip(sessions, calls, strict=True)
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        for session in sessions:
            session.close()
        if compare is not None:
            compare.append(outcome(dsn))
    return count / seconds


def outcome(dsn: str) -> Outcome:
    """What is in the tables, comparable between databases."""
    with connect(dsn) as connection:
        if value(connection, "select to_regnamespace('bare') is null"):
            connection.execute(SQL)
        return [(row[0], row[1], int(row[2])) for row in connection.execute("select * from bare.outcome()")]
