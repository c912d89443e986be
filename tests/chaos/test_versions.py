"""A program and a schema that are not of one release, for as long as a deployment takes."""

from collections.abc import Iterator

from consumer.adapters.postgres import migrate
from tests.chaos.faults import Fault
from tests.chaos.scene import Scene
from tests.chaos.trial import trial, until_said
from tests.waiting import wait_for

LATER = (
    "alter table public.webhook_events add column added_later text",
    "alter table public.messages add column added_later jsonb default '{}'",
    "alter table public.contacts add column added_later uuid default gen_random_uuid()",
    "alter table router.parked_events add column added_later timestamptz default now()",
    "create index concurrently added_later on public.messages (sent_at)",
    """create function router.route_batch(p_limit integer, p_added_later jsonb) returns router.batch
       language sql as 'select router.route_batch(p_limit)'""",
    "insert into router.schema_migrations (version, name) values ('29990101000000', 'later')",
)


def later_release_migrates(scene: Scene) -> Iterator[None]:
    """What the migrations of a later release do under the program of this one."""
    for statement in LATER:
        scene.database.rows(statement)
    yield


def test_this_program_on_a_later_schema(scene: Scene) -> None:
    """Columns, indexes and functions that a later release adds do not disturb it."""
    later = Fault(name="later-release", text="", course=later_release_migrates, seconds=(1, 1), needs=None)
    trial(scene, later)


def test_this_program_on_the_schema_before(scene: Scene) -> None:
    """A function that it needs is not there yet: who runs waits for it, who starts says what to do and ends."""
    running = scene.start()
    running.until_listening()
    definition = scene.database.value("select pg_get_functiondef('router.route_due(text, integer)'::regprocedure)")
    scene.database.rows("drop function router.route_due(text, integer)")
    until_said(scene, "run `webhook-router migrate`")
    starting = scene.start()
    assert starting.stopped() == 1
    assert "run `webhook-router migrate`" in str(starting.lines[-1]["event"])
    assert running.alive
    assert "create or replace function" in definition.lower()
    migrate.migrate(scene.database.dsn)
    wait_for(lambda: running.logged("works again"), what=f"{running.lines}")
    scene.again(starting).until_ready()
