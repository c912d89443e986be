"""What the doorbell costs those who insert, and how often it rings."""

from benchmarks.harness import Bench, Row, Service, connect, median, value
from benchmarks.throughput import pairs
from benchmarks.writers import Writers, write_one

WRITERS = 32
NO_TRIGGER = "drop trigger webhook_router_doorbell on public.webhook_events"


def tax(bench: Bench) -> None:
    """32 writers with the trigger against 32 writers without; a consumer is busy in both, and polls in the second."""
    seconds = bench.pick(quick=2, full=4)
    bench.say(f"ingest tax, {WRITERS} writers")
    rates: dict[bool, list[float]] = {True: [], False: []}
    routed: dict[bool, list[int]] = {True: [], False: []}

    def once(*, trigger: bool) -> float:
        with bench.scratch() as dsn:
            if not trigger:
                with connect(dsn) as connection:
                    connection.execute(NO_TRIGGER)
            # The poll is what keeps a consumer without a doorbell busy; the other one gets it as well.
            with Service(dsn, poll_interval=0.05) as service:
                service.await_ready()
                written = Writers(bench, dsn, clients=WRITERS, seconds=seconds).finish()
            with connect(dsn) as connection:
                routed[trigger].append(
                    value(connection, "select count(*) from public.webhook_events where routed_at is not null")
                )
        rates[trigger].append(written.per_second)
        return written.per_second

    ratios = pairs(lambda: once(trigger=True), lambda: once(trigger=False), bench.rounds(5))
    bench.add(
        Row(
            key="tax",
            what=f"ingest with our trigger ÷ without, {WRITERS} writers, single-row commits, busy consumer",
            measured=median(ratios),
            target=0.95,
            sense=">=",
            note=f"medians: with {median(rates[True]):,.0f}/s, without {median(rates[False]):,.0f}/s",
            details={
                "ratios": ratios,
                "per_second_with": rates[True],
                "per_second_without": rates[False],
                "routed_meanwhile_with": routed[True],
                "routed_meanwhile_without": routed[False],
            },
        )
    )


def notifications(bench: Bench) -> None:
    """NOTIFYs that a session of ours hears while single events wake an idle consumer."""
    count = bench.pick(quick=10, full=30)
    bench.say("notifications while idle")
    heard = 0
    with bench.scratch() as dsn, Service(dsn) as service, connect(dsn) as listener, connect(dsn) as writer:
        service.await_listening()
        listener.execute("listen webhook_router")
        for number in range(count):
            write_one(writer, number + 1)
            heard += sum(1 for note in listener.notifies(timeout=0.3) if not note.payload)
    bench.add(
        Row(
            key="notifies",
            what="NOTIFYs a wake-up of an idle consumer",
            measured=heard / count,
            target=1.0,
            sense="<=",
            unit="",
            note=f"{heard} for {count} events, 0.3 s apart",
        )
    )
