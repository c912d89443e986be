"""The pages for whoever is on call: what they show, whom they ask, and the routes by which they are reached."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

from consumer.adapters.postgres.database_url import place_of, with_defaults
from consumer.adapters.postgres.desk import Desk
from consumer.adapters.postgres.store import replica_of
from consumer.adapters.telemetry.log import Log
from consumer.adapters.web.ops.deliveries import deliveries
from consumer.adapters.web.ops.event import event
from consumer.adapters.web.ops.overview import overview
from consumer.adapters.web.ops.parked import parked
from consumer.adapters.web.ops.site import Site
from consumer.adapters.web.ops.stream import stream
from consumer.adapters.web.server import Route
from consumer.config import Settings
from consumer.pipeline.health import Health
from consumer.pipeline.overview import Live
from consumer.ports import Observer


def watching(settings: Settings, health: Health, log: Log) -> Live:
    """The sink that remembers what the overview shows."""
    host, database = place_of(settings.database())
    return Live(
        replica=replica_of(socket.gethostname(), os.getpid()),
        version=version("webhook-router"),
        source=settings.source,
        database=database,
        host=host,
        ready=health.ready,
        stalled=health.stalled,
        troubles=log.troubles,
        now=time.time,
    )


def pages(settings: Settings, live: Live, *, retried: Callable[[], None], observer: Observer) -> Sequence[Route]:
    """Their routes; `retried` is called when parked events have become due.

    Raises:
        Misconfigured: see `Settings.token`.
    """
    now = live.overview()
    site = Site(
        title=f"{now.database} on {now.host}, seen by {now.replica}",
        actions=settings.ops_actions,
        token=settings.token(),
        observer=observer,
    )
    desk = Desk(with_defaults(settings.database()), call_timeout=settings.call_timeout)
    return [
        *site.routes(),
        *overview(site, watched=live),
        *stream(site, watched=live),
        *parked(site, desk=desk, retried=retried, observer=observer),
        *event(site, desk=desk),
        *deliveries(site, desk=desk),
        *site.otherwise(),
    ]
