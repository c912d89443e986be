"""Tables as they are found in the wild, migrated, against those that a fresh installation makes."""

from pathlib import Path

from benchmarks import events
from benchmarks.harness import Bench, Row, connect, median
from benchmarks.throughput import drain_copy, pairs
from consumer.adapters.postgres import migrate

TABLES = Path(__file__).resolve().parent.parent / "tests" / "sql" / "brownfield.sql"
# Without names, which everybody chooses for himself.
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


def compare(bench: Bench) -> None:
    """What costs time in both, by catalogue, and the drain of one backlog in both."""
    count = bench.pick(quick=15_000, full=50_000)
    bench.say("brownfield tables")

    def fill(dsn: str) -> None:
        with connect(dsn) as connection:
            connection.execute(
                "do $$ begin if to_regrole('anon') is null then "
                "create role anon nologin; create role authenticated nologin; end if; end $$"
            )
            connection.execute(TABLES.read_text(encoding="utf-8"))
            migrate.migrate(dsn)
            events.load(connection, count)
            connection.execute("vacuum analyze")

    found = bench.template(f"brownfield_{count}", fill, source="template1")
    made = bench.backlog(count)
    catalogues = []
    for name in (found, made):
        with connect(bench.dsn(name)) as connection:
            catalogues.append({" ".join(row) for row in connection.execute(COSTS)})
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
            note="same indexes, keys, triggers and storage settings: the ratios of all rows hold for both"
            if not differences
            else f"{len(differences)} differences in the catalogue",
            details={"ratios": ratios, "differences": differences, "events": count},
        )
    )
