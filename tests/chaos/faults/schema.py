"""A schema that changes under the service: applied again, of a later release, of the release before."""

from collections.abc import Iterator

from consumer.adapters.postgres.migrations import migrator
from tests.chaos.faults.courses import meanwhile
from tests.chaos.faults.fault import fault
from tests.chaos.scene import Scene

LATER = {
    "alter table public.webhook_events add column added_later text": (
        "alter table public.webhook_events drop column added_later"
    ),
    "alter table public.messages add column added_later jsonb default '{}'": (
        "alter table public.messages drop column added_later"
    ),
    "alter table public.contacts add column added_later uuid default gen_random_uuid()": (
        "alter table public.contacts drop column added_later"
    ),
    "alter table router.parked_events add column added_later timestamptz default now()": (
        "alter table router.parked_events drop column added_later"
    ),
    "create index concurrently added_later on public.messages (sent_at)": "drop index public.added_later",
    """create function router.route_batch(p_limit integer, p_added_later jsonb) returns router.batch
       language sql as 'select router.route_batch(p_limit)'""": "drop function router.route_batch(integer, jsonb)",
    "insert into router.schema_migrations (version, name) values ('29990101000000', 'later')": (
        "delete from router.schema_migrations where version = '29990101000000'"
    ),
}
"""What the migrations of a later release do, and how it is undone."""


@fault("migrated-while-serving", "the schema is applied again, over and over, under traffic")
def migrated(scene: Scene) -> Iterator[None]:
    with meanwhile(lambda: migrator.migrate(scene.database.dsn, reapply=True, patience=20), every=0.1):
        yield


@fault("schema-of-a-later-release", "a later release migrates: columns, an index, a function more", alone=True)
def later_release(scene: Scene) -> Iterator[None]:
    for statement in LATER:
        scene.database.rows(statement)
    yield
    for undo in LATER.values():
        scene.database.rows(undo)


@fault(
    "schema-of-the-release-before",
    "functions that the service calls are not there yet, until somebody migrates",
    alone=True,
)
def release_before(scene: Scene) -> Iterator[None]:
    for replica in scene.replicas:
        replica.until_ready()  # one that is still starting would end, as it should
    scene.database.rows(
        """do $$ begin
               execute (select string_agg('drop function ' || p.oid::regprocedure, '; ') from pg_proc p
                        where p.proname in ('route_batch', 'route_due') and p.pronamespace = 'router'::regnamespace);
           end $$"""
    )
    yield
    migrator.migrate(scene.database.dsn)
