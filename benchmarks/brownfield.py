"""Tables as they are found in the wild, migrated, against those that a fresh installation makes."""

from dataclasses import asdict
from pathlib import Path

from benchmarks import events, history
from benchmarks.harness import Bench, Row, connect, median
from benchmarks.throughput import drain_copy, pairs
from consumer.adapters.postgres.migrations import migrator

TABLES = Path(__file__).resolve().parent.parent / "tests" / "sql" / "brownfield.sql"
# Without names, which differ from database to database.
COSTS = """
select c.relname::text, 'index', regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX \\S+ ON ', ' INDEX ON ')
from pg_index i join pg_class c on c.oid = i.indrelid
where c.relnamespace = 'public'::regnamespace
union all
select c.relname, 'key', pg_get_constraintdef(k.oid)
from pg_constraint k join pg_class c on c.oid = k.conrelid
where c.relnamespace = 'public'::regnamespace and k.contype = 'f'
union all
select c.relname, 'settings', array_to_string(c.reloptions, ' ')
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.reloptions is not null
union all
select c.relname, 'trigger', regexp_replace(pg_get_triggerdef(t.oid), 'TRIGGER \\S+', 'TRIGGER')
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'public'::regnamespace and not t.tgisinternal
order by 1, 2, 3
"""


KEYS = """
select distinct pg_get_expr(d.adbin, d.adrelid)
from pg_attrdef d
join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attname = 'id'
where d.adrelid = any (array['public.webhook_events', 'public.messages']::regclass[])
"""


def compare(bench: Bench) -> None:
    """What costs time in both, by catalogue, the drain of one backlog in both, and of one beside history."""
    count = bench.pick(quick=15_000, full=50_000)
    bench.say("brownfield tables")

    def make(dsn: str) -> None:
        with connect(dsn) as connection:
            connection.execute(
                "do $$ begin if to_regrole('anon') is null then "
                "create role anon nologin; create role authenticated nologin; end if; end $$"
            )
            connection.execute(TABLES.read_text(encoding="utf-8"))
            migrator.migrate(dsn)

    def fill(dsn: str) -> None:
        with connect(dsn) as connection:
            events.load(connection, count)
            connection.execute("vacuum analyze")

    empty = bench.template("brownfield", make, source="template1")
    found = bench.template(f"brownfield_{count}", fill, source=empty)
    made = bench.backlog(count)
    catalogues, keys = [], []
    for name in (found, made):
        with connect(bench.dsn(name)) as connection:
            catalogues.append({" ".join(row) for row in connection.execute(COSTS)})
            keys.append(" and ".join(row[0] for row in connection.execute(KEYS)))
    differences = sorted(
        [f"only in the wild: {line}" for line in catalogues[0] - catalogues[1]]
        + [f"only when fresh: {line}" for line in catalogues[1] - catalogues[0]]
    )
    ratios = pairs(
        lambda: drain_copy(bench, found).rate,
        lambda: drain_copy(bench, made).rate,
        bench.rounds(3),
    )
    bench.add(
        Row(
            key="brownfield",
            what="brownfield tables ÷ fresh ones",
            measured=median(ratios),
            note=("same" if not differences else f"{len(differences)} differences in")
            + f" indexes, foreign keys, triggers and storage settings; keys by {keys[0]} instead of {keys[1]}",
            details={"ratios": ratios, "differences": differences, "events": count},
        )
    )
    if bench.quick:
        return
    past = 1_000_000
    aged = history.drains(bench, past, 40_000, source=empty)
    bench.add(
        Row(
            key="brownfield-history",
            what=f"  brownfield tables, {past:,} routed events of history ÷ none",
            measured=median(aged.ratios),
            note=aged.note,
            details=asdict(aged),
        )
    )
