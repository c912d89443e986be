"""How the router is doing, according to the database, so whether the service runs or not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.adapters.postgres.operating.answers import answers
from consumer.adapters.postgres.operating.session import Connection
from consumer.adapters.postgres.store import REPLICA, REPLICAS, replica_named
from consumer.domain.overview import ChannelBacklog, Replica

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
_BY_CHANNEL: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select c.channel, c.ready, c.oldest_seconds, c.is_partial
        from router.backlog_by_channel(null::pg_catalog.float8) c
    ) l
"""
_WAITING: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select b.ready, b.oldest_seconds, b.parked, b.dead
        from router.recent_backlog(%(within)s::pg_catalog.float8) b
    ) l
"""
_ROUTED: Final = """
    select pg_catalog.row_to_json(l)
    from (select router.routed_within(%(seconds)s::pg_catalog.float8) as events) l
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
    by_channel: Sequence[ChannelBacklog]
    """Of what is ready, the oldest first."""
    by_channel_is_partial: bool
    """Whether only the oldest ready events were counted by channel, since there are too many."""
    services: Sequence[Replica]
    """The replicas."""


async def status(connection: Connection) -> Status:
    """Takes one look. It is cheap on a table of any size, except that it counts what is unrouted."""
    (row,) = await answers(connection, "status", _STATUS)
    channels = await answers(connection, "backlog_by_channel", _BY_CHANNEL)
    sessions = await (await connection.execute(REPLICAS, [REPLICA])).fetchall()
    is_partial = [channel.pop("is_partial") for channel in channels]
    return Status(
        **row,
        by_channel=[ChannelBacklog(**channel) for channel in channels],
        by_channel_is_partial=any(is_partial),
        services=[replica_named(name, seconds) for name, seconds in sessions],
    )


async def counted_again(connection: Connection, known: Status, *, within: float) -> Status:
    """A status with ready, oldest_seconds, parked and dead of now, counting of what is ready only what arrived at most
    so many seconds ago. It costs less, since what was routed before then costs nothing."""
    (row,) = await answers(connection, "recent_backlog", _WAITING, {"within": within})
    return replace(known, **row)


async def routed_within(connection: Connection, *, seconds: float) -> int | None:
    """Events that were routed within the last seconds; None if no index tells."""
    (row,) = await answers(connection, "routed_within", _ROUTED, {"seconds": seconds})
    events: int | None = row["events"]
    return events
