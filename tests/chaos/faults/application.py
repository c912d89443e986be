"""An application that does to our tables, locks and triggers what it likes, while the service routes.

What it changes for good it changes for events of its own (`Event.person`), so that the ledger knows what is right.
"""

import contextlib
from collections.abc import Iterator

from psycopg.conninfo import make_conninfo

from tests.chaos.faults.courses import meanwhile, session
from tests.chaos.faults.fault import FAULTS, fault
from tests.chaos.scene import Scene
from tests.chaos.traffic import Plan, Producer

RAW_RATE = 60
"""Events a second from people whose ids the application spells in its own way."""
DOORBELL, THREADS, ALL_THREADS = 1920298101, 1920298102, 1920298104
"""First keys of the service's advisory locks."""

TIDIES_UP = """
    create or replace function witness.tidy_id() returns trigger language plpgsql as
        $$ begin
            new.external_id := pg_catalog.regexp_replace(new.external_id, '^raw-+', 'tidy-');
            new.display_name := pg_catalog.upper(new.display_name);
            return new;
        end $$;
    create or replace trigger tidy_id before insert on public.contact_channels
        for each row when (new.external_id like 'raw-%') execute function witness.tidy_id();
    create or replace function witness.own_id() returns trigger language plpgsql as
        $$ begin new.id := pg_catalog.gen_random_uuid(); return new; end $$;
    create or replace trigger own_id before insert on public.contacts
        for each row when (new.full_name like 'Raw %') execute function witness.own_id();
    create or replace trigger own_id before insert on public.messages
        for each row when (new.provider_message_id like 'raw%') execute function witness.own_id()
"""


@contextlib.contextmanager
def trigger(scene: Scene, name: str, event: str, condition: str, body: str) -> Iterator[None]:
    """A row trigger of the application, such as `before insert on public.messages`, for as long as this lasts."""
    scene.database.rows(
        f"""create or replace function witness.{name}() returns trigger language plpgsql as
                $$ begin {body} end $$;
            create or replace trigger {name} {event}
                for each row when ({condition}) execute function witness.{name}()"""
    )
    try:
        yield
    finally:
        scene.database.rows(f"drop trigger if exists {name} on {event.rpartition(' ')[2]}")


@contextlib.contextmanager
def raw_people(scene: Scene, prefix: str) -> Iterator[None]:
    """More traffic: of people whose ids the application spells in its own way, and who comment on new posts."""
    scene.database.rows(TIDIES_UP)  # it stays: who is one person today must not be two tomorrow
    plan = Plan(prefix, name=prefix, faulty=0.01, raw=True)
    # Its calls must end even if a lock that they need is held by the course that waits for this one's end.
    dsn = make_conninfo(scene.application_dsn(), options="-c statement_timeout=2000")
    producer = Producer(plan, scene.ledger, dsn, rate=RAW_RATE)
    producer.start()
    try:
        yield
    finally:
        producer.stop()
        producer.join()


@fault(
    "application-rewrites-ids",
    "triggers assign ids of contacts and messages, and give people's ids and names another spelling",
)
def rewrites_ids(scene: Scene) -> Iterator[None]:
    with raw_people(scene, f"raw{scene.chance.randrange(10**9)}"):
        yield


@fault("application-sets-pending", "a trigger makes every new conversation a pending one")
def sets_pending(scene: Scene) -> Iterator[None]:
    body = "new.status := 'pending'; return new;"
    with trigger(scene, "to_pending", "before insert on public.conversations", "true", body):
        yield


@fault("application-refuses-parking", "a trigger on webhook_events raises for every event that is to be parked")
def refuses_parking(scene: Scene) -> Iterator[None]:
    body = "raise exception 'no parking here';"
    with trigger(scene, "no_parking", "before update on public.webhook_events", "new.parked_until is not null", body):
        yield


@fault("application-breaks-a-trigger", "a trigger on messages needs a table that is gone, for every hundredth event")
def breaks_a_trigger(scene: Scene) -> Iterator[None]:
    body = "perform from witness.gone; return new;"
    condition = "new.provider_message_id like '%77'"  # see watch.AHEAD
    with trigger(scene, "breaks", "before insert on public.messages", condition, body):
        yield


@fault(
    "application-takes-our-locks",
    "another program holds the service's advisory locks, for longer than a call may take",
    seconds=(4, 10),
)
def takes_our_locks(scene: Scene) -> Iterator[None]:
    prefix = f"raw{scene.chance.randrange(10**9)}"
    locks = scene.chance.choice(
        [
            f"select pg_advisory_xact_lock({ALL_THREADS}, 0)",
            f"""select pg_advisory_xact_lock({THREADS}, hashtext(channel || ' post-{prefix}-' || n))
                from unnest(array['instagram', 'whatsapp', 'facebook']) channel, generate_series(0, 200, 3) n""",
        ]
    )
    with raw_people(scene, prefix), session(scene, locks):
        yield


@fault(
    "application-prepares-transactions",
    "a prepared transaction of the application holds locks on conversations, or on the whole of messages",
    seconds=(4, 10),
    alone=True,
)
def prepares_transactions(scene: Scene) -> Iterator[None]:
    locks = scene.chance.choice(
        [
            """select from public.conversations v
               where v.id in (select id from public.conversations order by updated_at desc limit 20)
               order by v.id for update""",
            "lock table public.messages in share mode",
        ]
    )
    name = f"chaos-{scene.chance.randrange(10**9)}"
    with session(scene, "set local lock_timeout = '20s'", locks, f"prepare transaction '{name}'"):
        pass
    try:
        yield
    finally:
        scene.database.rows(f"rollback prepared '{name}'")


@fault("application-silences-the-doorbell", "another program holds the lock that keeps the doorbell silent")
def silences_the_doorbell(scene: Scene) -> Iterator[None]:
    with session(scene, "set local lock_timeout = '20s'", f"select pg_advisory_xact_lock({DOORBELL}, 0)"):
        yield


@fault("application-disables-the-doorbell", "the doorbell's trigger is disabled")
def disables_the_doorbell(scene: Scene) -> Iterator[None]:
    scene.database.rows("alter table public.webhook_events disable trigger webhook_router_doorbell")
    try:
        yield
    finally:
        scene.database.rows("alter table public.webhook_events enable trigger webhook_router_doorbell")


@fault(
    "application-moves-arrival-times",
    "a trigger writes created_at: the past, the future, both infinities, for every tenth event",
)
def moves_arrival_times(scene: Scene) -> Iterator[None]:
    body = """
        new.created_at := case pg_catalog.right(new.event_id, 1)
            when '1' then pg_catalog.now() - interval '1 day'
            when '2' then pg_catalog.now() + interval '1 day'
            when '3' then timestamptz '-infinity'
            else timestamptz 'infinity'
        end;
        return new;"""
    condition = "new.event_id ~ '[05][1-4]$'"
    with trigger(scene, "another_time", "before insert on public.webhook_events", condition, body):
        yield


TOGETHER = tuple(name for name, one in FAULTS.items() if name.startswith("application-") and not one.alone)


@fault("hostile-application", "three of these at once, while conversations become pending by turns", seconds=(4, 10))
def hostile(scene: Scene) -> Iterator[None]:
    names = [name for name in TOGETHER if name != "application-sets-pending"]

    def by_turns() -> None:
        with FAULTS["application-sets-pending"].on(scene):
            scene.database.value("select pg_sleep(0.3)")

    with contextlib.ExitStack() as stack:
        for name in scene.chance.sample(names, 3):
            stack.enter_context(FAULTS[name].on(scene))
        with meanwhile(by_turns, every=0.5):
            yield
