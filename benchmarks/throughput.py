"""How fast a backlog is routed: the service against the bare limit, the original, and itself in worse conditions."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import bare, events
from benchmarks.harness import Bench, Drain, Row, Service, await_routed, committed, connect, drain, median, value

ORIGINAL = Path(__file__).resolve().parent.parent / "tests" / "sql" / "original_functions.sql"
QUICK_FORMS = ("one transaction", "batches of 5,000 in two sessions")
WITHOUT_STATISTICS = """
alter table public.webhook_events set (autovacuum_enabled = off);
alter table public.messages set (autovacuum_enabled = off);
alter table public.conversations set (autovacuum_enabled = off);
alter table public.contacts set (autovacuum_enabled = off);
alter table public.contact_channels set (autovacuum_enabled = off);
"""


def drain_copy(bench: Bench, template: str, **settings: Any) -> Drain:  # noqa: ANN401
    """The service routes the backlog of a fresh copy of a template."""
    with bench.scratch(template) as dsn:
        return drain(dsn, **settings)


def against_bare(bench: Bench) -> None:
    """The service and the fastest bare form in turns, on copies of one backlog."""
    count = bench.pick(quick=20_000, full=200_000)
    trial = 20_000
    forms = [form for form in bare.FORMS if not bench.quick or form is bare.AS_SERVICE or form.name in QUICK_FORMS]
    bench.say(f"service against bare limit, backlog of {count:,}")
    tried = {form.name: bare.run(bench, form, trial) for form in forms}
    fastest = max(forms, key=lambda form: tried[form.name])
    drain_copy(bench, bench.backlog(bench.pick(quick=5_000, full=20_000)))  # Python's files come into the cache
    ratios, rates, limits, outcomes = [], [], [], list[bare.Outcome]()
    for number in range(bench.rounds(2)):
        limits.append(bare.run(bench, fastest, count, None if number else outcomes))
        with bench.scratch(bench.backlog(count)) as dsn:
            rates.append(drain(dsn).rate)
            if not number:
                outcomes.append(bare.outcome(dsn))
        ratios.append(rates[-1] / limits[-1])
    alike = limits[-1] if fastest is bare.AS_SERVICE else bare.run(bench, bare.AS_SERVICE, trial)
    if any(found != outcomes[0] for found in outcomes):
        raise RuntimeError("the service's rows differ from those of the bare limit")
    bench.facts["peak"] = median(rates)
    bench.add(
        Row(
            key="bare",
            what=f"service ÷ bare limit, backlog of {count:,}",
            measured=median(ratios),
            target=0.85,
            sense=">=",
            note=f"medians: service {median(rates):,.0f}/s, bare {median(limits):,.0f}/s ({fastest.name}); "
            "same final rows",
            details={
                "events": count,
                "ratios": ratios,
                "service_per_second": rates,
                "bare_per_second": limits,
                "bare_form": fastest.name,
                "bare_forms_tried_on": trial,
                "bare_forms_per_second": tried,
                "rows_equal": True,
            },
        )
    )
    bench.add(
        Row(
            key="bare-batches",
            what="service ÷ bare limit in one session that commits every 1,000 events",
            measured=median(rates) / alike,
            note=f"{median(rates):,.0f}/s against {alike:,.0f}/s",
            details={"bare_per_second": alike},
        )
    )


def loop_of_original(dsn: str, seconds: float) -> float:
    """Events a second of `route_unrouted_events(null, 100)` of the original functions in a loop, for some seconds."""
    with connect(dsn) as connection:
        connection.execute("drop trigger if exists webhook_router_doorbell on public.webhook_events")
        # "create or replace" would leave them to the role that owns ours, which may not touch tables.
        connection.execute("drop function public.route_unrouted_events(text, integer)")
        connection.execute("drop function public.route_webhook_event(text, text)")
        connection.execute(ORIGINAL.read_text(encoding="utf-8"))
        connection.execute("set statement_timeout = '120s'")
        begun = value(connection, "select clock_timestamp()")
        while value(connection, "select public.route_unrouted_events(null, 100)") > 0:
            if value(connection, "select extract(epoch from clock_timestamp() - %s)", (begun,)) > seconds:
                break
    return committed(dsn).rate


def against_original(bench: Bench) -> None:
    """The service against the original functions on the same backlog, and on a small one, where theirs sort less."""
    count = bench.pick(quick=20_000, full=200_000)
    small = bench.pick(quick=5_000, full=20_000)
    seconds = bench.pick(quick=2.0, full=10.0)
    bench.say("the original's row-by-row functions")
    rates = {}
    for size in (count, small):
        with bench.scratch(bench.backlog(size)) as dsn:
            rates[size] = loop_of_original(dsn, seconds)
    best = max(rates.values())
    bench.add(
        Row(
            key="original",
            what="service ÷ original's route_unrouted_events(null, 100) in a loop",
            measured=bench.facts["peak"] / best,
            target=5,
            sense=">=",
            note=f"{bench.facts['peak']:,.0f}/s against {best:,.0f}/s, the better of two backlogs",
            details={"original_per_second_by_backlog": rates, "service_per_second": bench.facts["peak"]},
        )
    )


def pairs(first: Callable[[], float], second: Callable[[], float], count: int) -> list[float]:
    """Ratios first ÷ second, measured in turns: which one starts alternates as well."""
    ratios = []
    for number in range(count):
        if number % 2:
            divisor = second()
            ratios.append(first() / divisor)
        else:
            dividend = first()
            ratios.append(dividend / second())
    return ratios


def never_analysed(bench: Bench) -> None:
    """A database without statistics against one with them; autovacuum is off in both, so that it stays that way."""
    count = bench.pick(quick=10_000, full=40_000)
    bench.say("never analysed against analysed")

    def prepare(*, analysed: bool) -> Callable[[str], None]:
        def fill(dsn: str) -> None:
            with connect(dsn) as connection:
                connection.execute(WITHOUT_STATISTICS)
                events.load(connection, count)
                if analysed:
                    connection.execute("vacuum analyze")

        return fill

    templates = [
        bench.template(f"statistics_{analysed}", prepare(analysed=analysed), source=bench.schema())
        for analysed in (False, True)
    ]
    ratios = pairs(
        lambda: drain_copy(bench, templates[0]).rate,
        lambda: drain_copy(bench, templates[1]).rate,
        bench.rounds(2),
    )
    bench.add(
        Row(
            key="statistics",
            what="never analysed ÷ analysed database",
            measured=median(ratios),
            target=0.9,
            sense=">=",
            details={"events": count, "ratios": ratios},
        )
    )
    public = pairs(
        lambda: rate_of_public(bench, templates[0]),
        lambda: rate_of_public(bench, templates[1]),
        bench.rounds(2),
    )
    bench.add(
        Row(
            key="statistics-public",
            what="  the same for route_unrouted_events(null, 5000)",
            measured=median(public),
            target=0.9,
            sense=">=",
            details={"events": count, "ratios": public},
        )
    )


def rate_of_public(bench: Bench, template: str) -> float:
    """Events a second of the public batch function, called in a loop until nothing is left."""
    with bench.scratch(template) as dsn, connect(dsn) as connection:
        begun, events = time.perf_counter(), 0
        while found := value(connection, "select public.route_unrouted_events(null, 5000)"):
            events += found
        return float(events / (time.perf_counter() - begun))


PARK = """
with parked as (
    insert into public.webhook_events (channel, type, event_id, author_id, content, event_date, created_at,
                                       parked_until)
    select 'instagram', 'message', 'parked-' || i, 'parked-' || i, 'x', now() - interval '2 days',
           now() - interval '2 days' + i * interval '1 millisecond', now() + interval '1 hour'
    from generate_series(1, %s) as g (i)
    returning id, channel, parked_until
)
insert into router.parked_events (event_id, channel, error_code, error_message, next_attempt_at)
select id, channel, 'XX000', 'parked for the benchmark', parked_until from parked
"""


def parked_head(bench: Bench) -> None:
    """Parked events at the head of the queue against none."""
    count = bench.pick(quick=15_000, full=50_000)
    parked = bench.pick(quick=10_000, full=10_000)
    bench.say(f"{parked:,} parked events at the head")

    def fill(dsn: str) -> None:
        with connect(dsn) as connection:
            connection.execute(PARK, (parked,))
            connection.execute("vacuum analyze")

    plain = bench.backlog(count)
    headed = bench.template(f"parked_{count}", fill, source=plain)
    ratios = pairs(
        lambda: drain_copy(bench, headed).rate,
        lambda: drain_copy(bench, plain).rate,
        bench.rounds(3),
    )
    bench.add(
        Row(
            key="parked",
            what=f"{parked:,} parked events at the head ÷ none",
            measured=median(ratios),
            target=0.95,
            sense=">=",
            details={"events": count, "ratios": ratios},
        )
    )


def batch_sizes(bench: Bench) -> None:
    """What an event costs by the size of the batch it is routed in."""
    bench.say("cost of an event by batch size")
    costs = {}
    for size, quick, full in ((1, 1_000, 4_000), (10, 4_000, 15_000), (100, 8_000, 30_000), (1000, 15_000, 50_000)):
        count = bench.pick(quick=quick, full=full)
        routed = drain_copy(bench, bench.backlog(count), batch_size=size)
        costs[size] = routed.seconds / routed.events * 1e6
    bench.add(
        Row(
            key="sizes",
            what="an event's cost in batches of 1,000 ÷ in batches of 100",
            measured=costs[1000] / costs[100],
            note="µs an event by batch size: " + ", ".join(f"{size:,}: {cost:,.0f}" for size, cost in costs.items()),
            details={"microseconds_by_batch_size": costs},
        )
    )


def drain_together(bench: Bench, count: int, number: int) -> float:
    """Events a second of so many services that run already when a backlog appears: Python's start is not measured."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(bench.scratch())
        # The backlog is committed at once, and late for its first events: it must not be left to the sweep.
        services = [stack.enter_context(Service(dsn, overlap=60)) for _ in range(number)]
        for service in services:
            service.await_ready()
        with connect(dsn) as connection:
            events.load(connection, count, age="0 seconds")
        await_routed(dsn, services[0])
        return committed(dsn).rate


def replicas(bench: Bench) -> None:
    """Two and four services on one backlog against one; only four in the quick form."""
    count = bench.pick(quick=15_000, full=60_000)
    numbers = bench.pick(quick=(4,), full=(2, 4))
    bench.say("replicas")
    rates: dict[int, list[float]] = {number: [] for number in (1, *numbers)}
    for _ in range(bench.rounds(2)):
        for number, found in rates.items():
            found.append(drain_together(bench, count, number))
    for number in numbers:
        ratios = [many / one for many, one in zip(rates[number], rates[1], strict=True)]
        bench.add(
            Row(
                key=f"replicas-{number}",
                what=f"{number} replicas ÷ one",
                measured=median(ratios),
                target=1.0 if number == 4 else None,
                sense=">=" if number == 4 else "",
                details={"events": count, "ratios": ratios, "per_second": {str(k): v for k, v in rates.items()}},
            )
        )
