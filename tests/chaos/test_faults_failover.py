"""Another server takes over, with everything that its standby had."""

import dataclasses
import itertools
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.chaos.conftest import require
from tests.chaos.events import made
from tests.chaos.pair import SETTINGS, make_synchronous, standby_of
from tests.chaos.scene import Scene, scene_on
from tests.chaos.server import own_server, thaw
from tests.chaos.trial import trial
from tests.kafka.broker import Cluster
from tests.ports import free_port
from tests.waiting import wait_for


@pytest.fixture
def pair_scene() -> Iterator[Scene]:
    """A scene whose server has another one that may take over from it."""
    require("standby")
    with (
        own_server(spare=free_port(), settings=SETTINGS) as server,
        scene_on(server, f"chaos_{uuid.uuid4().hex}") as scene,
    ):
        yield scene


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_standby_takes_over(pair_scene: Scene, seed: int) -> None:
    """Replicas that know both addresses and such that know a moving one find the primary, both times, and go on."""
    scene = pair_scene
    scene.chance.seed(seed)  # a silent end or a loud one, a rewound server or a copied one
    for moving in (False, True):
        scene.start(scene.kind(moving=moving))

    def taken_over() -> None:
        assert scene.database.value("select inet_server_port()") == scene.server.spare
        scene.until_routed()
        for replica in scene.replicas:
            replica.until_listening()

    trial(scene, "failover", during=taken_over)
    for replica in scene.replicas:
        replica.until_listening()


def test_a_standby_that_comes_first_is_passed_over(pair_scene: Scene) -> None:
    """Both servers run, and the URL names the standby first: that one only reads, so the service goes to the other."""
    scene = pair_scene
    first = scene.server
    assert first.spare is not None
    kind = scene.kind()
    with standby_of(first):
        scene.start(dataclasses.replace(kind, dsn=make_conninfo(kind.dsn, port=f"{first.spare},{first.port}")))
        scene.replicas[0].until_listening()
        scene.deliver(list(itertools.islice(made("passed", prefix="passed", faulty=0), 50)))
        scene.until_routed()
        assert scene.verdict().acknowledged == 50
        scene.replicas[0].end()


def test_what_an_asynchronous_standby_loses(pair_scene: Scene) -> None:
    """The last commits, acknowledged ones too, each event with its message; delivered again, all is well."""
    scene = pair_scene
    scene.start(scene.kind(moving=True)).until_listening()
    events = list(itertools.islice(made("lost", prefix="lost", faulty=0), 400))
    first = scene.server
    with standby_of(first) as second:
        scene.deliver(events[:200])
        scene.until_routed()
        with psycopg.connect(first.dsn()) as on_first, psycopg.connect(second.dsn(), autocommit=True) as on_second:
            end = on_first.execute("select pg_current_wal_lsn()").fetchone()
            wait_for(
                lambda: on_second.execute("select pg_last_wal_receive_lsn() >= %s::pg_lsn", end).fetchone() == (True,),
                what="a standby that has the first half",
            )
            on_second.execute("alter system set primary_conninfo = ''")
            on_second.execute("select pg_reload_conf()")
            wait_for(
                lambda: on_second.execute("select count(*) from pg_stat_wal_receiver").fetchone() == (0,),
                what="a standby that follows nobody",
            )
        scene.deliver(events[200:])
        scene.until_routed()
        first.kill()
        second.promote()
        assert scene.relay is not None
        scene.relay.lead_to(second.port)
        with pytest.raises(AssertionError, match=r"'lost': 200"):
            scene.verdict()
        scene.deliver(events)
        scene.until_routed()
        assert scene.verdict().acknowledged == 400
        assert all(replica.alive for replica in scene.replicas)


def test_a_record_that_no_standby_has_is_not_done(pair_scene: Scene, cluster: Cluster) -> None:
    """The synchronous standby does not answer: a call that is cancelled while its commit waits commits no offset."""
    scene = pair_scene
    kafka = scene.join(cluster)
    reader = scene.start(scene.kind("--call-timeout", "1", kafka=True))
    reader.until_ready()
    events = list(itertools.islice(made("record", prefix="record", faulty=0), 60))
    first = scene.server
    with standby_of(first) as second:
        make_synchronous(first)
        family = second.freeze()
        try:
            scene.ledger.enter(events)
            kafka.send(events)
            scene.ledger.acknowledge(events)
            stored = "select count(*) > 0 from public.webhook_events"  # a cancelled commit is one, on this server only
            wait_for(lambda: scene.database.value(stored), what=f"a cancelled call, {reader.lines}")
            until = time.monotonic() + 5
            while time.monotonic() < until:  # long enough for an offset to be committed
                assert not any(offset for offsets in kafka.committed().values() for offset in offsets.values())
            first.kill()
        finally:
            thaw(family)
        second.promote()
        kafka.until_done()
        scene.until_routed()
        assert scene.verdict().acknowledged == 60
        reader.end()
