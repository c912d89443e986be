"""How the router is doing, according to the database, so whether the service runs or not."""

from dataclasses import dataclass
from typing import Final

from consumer.adapters.postgres.operating.answers import answers
from consumer.adapters.postgres.operating.session import Connection

_STATUS: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select s.ready, s.oldest_seconds, s.parked, s.dead, s.discarded, s.per_second_in_minute, s.per_second_in_hour,
               case when s.last_routed_at is not null  -- it may be later than the moment at which this began
                    then greatest(extract(epoch from pg_catalog.now() operator(pg_catalog.-) s.last_routed_at), 0)
               end::pg_catalog.float8 as last_routed_seconds_ago,
               s.sessions, s.replicas, s.counted_seconds, s.awake, s.notification_queue, router.doorbell() as doorbell
        from router.status() s
    ) l
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look. Times in seconds."""

    ready: int
    """Events to be routed now."""
    oldest_seconds: float
    """Age of the oldest of them, 0 when there is none."""
    parked: int
    """Events that wait for another attempt."""
    dead: int
    """Events that wait for an operator."""
    discarded: int
    """Events that an operator has given up."""
    per_second_in_minute: float | None
    """Events routed a second over the last minute; None if no index tells, here and below."""
    per_second_in_hour: float | None
    """The same over `counted_seconds`."""
    counted_seconds: float | None
    """An hour, or less if so many were routed in it that counting them takes too long."""
    last_routed_seconds_ago: float | None
    replicas: int
    """Processes of the service; behind a transaction pooler those whose session still has their name."""
    sessions: int
    """Connections of services, their listeners among them; behind a pooler, its own, whether they are in use or not."""
    awake: bool
    """Whether a service is draining just now."""
    notification_queue: float
    """Share of the server's notification queue in use, 0 to 1."""
    doorbell: str
    """Whether inserts wake the service, and what keeps them from it: see `consumer.domain.doorbell`."""


async def status(connection: Connection) -> Status:
    """Takes one look. It is cheap on a table of any size, except that it counts what is unrouted."""
    (row,) = await answers(connection, "status", _STATUS)
    return Status(**row)
