"""Statements that time out, wait, conflict, or use an old snapshot."""

import time
from collections.abc import Iterator

from tests.chaos.faults.courses import meanwhile, session, with_setting
from tests.chaos.faults.fault import fault
from tests.chaos.scene import Scene


@fault("statement-timeout", "a statement_timeout that a full batch exceeds, and a slow trigger of the application")
def statement_timeout(scene: Scene) -> Iterator[None]:
    scene.database.rows(
        """create or replace function witness.dawdle() returns trigger language plpgsql as
           $$ begin perform pg_sleep(0.002); return new; end $$;
           drop trigger if exists dawdle on public.messages;
           create trigger dawdle before insert on public.messages for each row execute function witness.dawdle()"""
    )
    with with_setting(scene, "statement_timeout", "800ms"):
        yield
    scene.database.rows("drop trigger if exists dawdle on public.messages")


@fault("lock-timeout", "a lock_timeout of 20 ms, while the application locks conversations for longer")
def lock_timeout(scene: Scene) -> Iterator[None]:
    def hold() -> None:
        with session(
            scene,
            """select from public.conversations v
               where v.id in (select m.conversation_id from public.messages m tablesample system (5) limit 200)
               order by v.id for update""",
        ):
            time.sleep(0.3)

    with with_setting(scene, "lock_timeout", "20ms"), meanwhile(hold, every=0.05):
        yield


@fault("deadlock", "the application locks the latest conversations in the wrong order")
def deadlock(scene: Scene) -> Iterator[None]:
    def cross() -> None:
        # It detects deadlocks late, so that the service is the victim.
        with session(scene, "set local deadlock_timeout = '5s'") as connection:
            for (conversation,) in connection.execute(
                """select id from (select id from public.conversations order by updated_at desc limit 40) v
                   order by id desc"""
            ).fetchall():
                connection.execute("select from public.conversations where id = %s for update", (conversation,))
                time.sleep(0.005)

    with meanwhile(cross, every=0.05):
        yield


@fault(
    "serialization-failures",
    "every third batch fails with 40001, and all transactions are serializable by default",
)
def serialization_failures(scene: Scene) -> Iterator[None]:
    scene.database.rows(
        """create or replace function witness.collide() returns trigger language plpgsql as
           $$ begin
               if random() < 0.33 then
                   raise exception 'could not serialize access' using errcode = 'serialization_failure';
               end if;
               return null;
           end $$;
           drop trigger if exists collide on public.messages;
           create trigger collide before insert on public.messages
               for each statement execute function witness.collide()"""
    )
    with with_setting(scene, "default_transaction_isolation", "serializable"):
        yield
    scene.database.rows("drop trigger if exists collide on public.messages")


@fault("repeatable-read", "all transactions see the past by default (repeatable read)")
def repeatable_read(scene: Scene) -> Iterator[None]:
    with with_setting(scene, "default_transaction_isolation", "repeatable read"):
        yield


@fault("long-snapshot", "a report holds an old snapshot", seconds=(3, 20))
def long_snapshot(scene: Scene) -> Iterator[None]:
    with session(scene, "set transaction isolation level repeatable read", "select count(*) from public.messages"):
        yield


@fault("exclusive-lock", "DDL holds an exclusive lock on messages", seconds=(2, 12), alone=True)
def exclusive_lock(scene: Scene) -> Iterator[None]:
    with session(scene, "lock table public.messages in access exclusive mode"):
        yield
