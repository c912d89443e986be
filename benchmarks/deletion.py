"""Deleting a conversation or a contact, with the indexes of `migrate --deletion-indexes` and without; their price."""

import time

import psycopg

from benchmarks.harness import Bench, Row, connect, median
from benchmarks.history import write_history
from benchmarks.profile import batches
from benchmarks.throughput import pairs
from consumer.adapters.postgres.migrations import migrator

DELETED = 20
BATCH = 1000
CONVERSATIONS = "select id from public.conversations order by id limit %s"
CONTACTS = "select c.id from public.contacts c order by c.id desc limit %s"
DELETE_CONVERSATION = "delete from public.conversations where id = %s"
DELETE_CONTACT = "delete from public.contacts where id = %s"


def each(connection: psycopg.Connection, which: str, delete: str) -> float:
    """Milliseconds of one deletion with what refers to it; the median, the first ones read from disk."""
    times = []
    for (key,) in connection.execute(which, (DELETED,)).fetchall():
        begun = time.perf_counter()
        with connection.transaction(force_rollback=True):
            connection.execute(delete, (key,))
        times.append((time.perf_counter() - begun) * 1e3)
    return median(times)


def measure(bench: Bench) -> None:
    """Both."""
    past = bench.pick(quick=60_000, full=1_000_000)
    count = bench.pick(quick=10_000, full=40_000)
    bench.say(f"deletions beside {past:,} routed events")
    found: dict[str, tuple[float, float]] = {}
    with bench.scratch() as dsn:
        write_history(dsn, past)
        with connect(dsn) as connection:
            for name in ("without", "with"):
                if name == "with":
                    migrator.migrate(dsn, deletion_indexes=True)
                found[name] = (
                    each(connection, CONVERSATIONS, DELETE_CONVERSATION),
                    each(connection, CONTACTS, DELETE_CONTACT),
                )
    for place, key in enumerate(("conversation", "contact")):
        before, after = found["without"][place], found["with"][place]
        bench.add(
            Row(
                key=f"deletion-{key}",
                what=f"deleting one {key} beside {past:,} events: without its index ÷ with it",
                measured=before / after,
                note=f"medians of {DELETED}: {before:,.1f} ms without, {after:,.1f} ms with",
            )
        )

    def cpu(*, indexed: bool) -> float:
        with bench.scratch(bench.backlog(count)) as copy:
            if indexed:
                migrator.migrate(copy, deletion_indexes=True)
            with connect(copy) as connection:
                return batches(connection, size=BATCH, warm=5).cpu

    ratios = pairs(lambda: cpu(indexed=True), lambda: cpu(indexed=False), bench.rounds(6))
    bench.add(
        Row(
            key="deletion-indexes",
            what="CPU of a backlog's event with both indexes for deletions ÷ without",
            measured=median(ratios),
            note="more than 1.03, so they are built where they are asked for" if median(ratios) > 1.03 else "",
            details={"ratios": ratios},
        )
    )
