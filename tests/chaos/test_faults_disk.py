"""A disk that is full, and then is not."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.chaos.conftest import require
from tests.chaos.events import made
from tests.chaos.scene import Scene, own_server, scene_on
from tests.chaos.traffic import Plan, Producer
from tests.chaos.trial import until_said
from tests.waiting import wait_for


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 MB."""
    require("small-disk")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leaves no room."""
    with contextlib.suppress(OSError), (folder / "ballast").open("ab") as ballast:
        while True:
            ballast.write(bytes(65_536))
            ballast.flush()


def until_refused(producer: Producer) -> None:
    """Waits until the producer sees it too."""
    before = producer.refused
    wait_for(lambda: producer.refused > before, timeout=20, what="a delivery that fails")


def put_through(scene: Scene, folder: Path) -> None:
    """Fills the disk under traffic, makes room, and lets the ledger judge."""
    replica = scene.start()
    replica.until_ready()
    producer = Producer(Plan("disk", name="disk", faulty=0), scene.ledger, scene.application_dsn(), rate=300)
    producer.start()
    try:
        wait_for(lambda: producer.delivered > 300, what="traffic")
        fill(folder)
        until_refused(producer)
        events = made("disk", prefix="full", faulty=0)
        scene.ledger.enter([next(events)])  # was never acknowledged, and nothing is promised
        (folder / "ballast").unlink()
        if not scene.server.running:
            scene.server.restart()
        before = producer.delivered
        wait_for(lambda: producer.delivered > before + 300, timeout=40, what=f"traffic, {producer.last_error}")
    finally:
        producer.stop()
        producer.join()
    scene.until_routed(timeout=40)
    assert replica.alive
    assert scene.verdict().acknowledged > 600


def test_no_room_for_the_log(small_disk: Path) -> None:
    """The server itself ends for want of room for its log; the service waits until somebody has made room."""
    with (
        own_server(data=small_disk, settings={"max_wal_size": "64MB"}) as server,
        scene_on(server, "disk") as scene,
    ):
        put_through(scene, small_disk)


def test_no_room_for_tables(small_disk: Path) -> None:
    """The server goes on without room for rows (53100): nobody is parked for it."""
    space = small_disk / "space"
    space.mkdir(mode=0o700)
    with own_server() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{space}'".encode())
        with scene_on(server, "disk") as scene:
            for table in ("webhook_events", "messages", "conversations", "contacts", "contact_channels"):
                scene.database.rows(f"alter table public.{table} set tablespace small")
            scene.database.rows("alter table router.parked_events set tablespace small")
            put_through(scene, small_disk)
            # Once more, so that it is the service that meets it.
            (replica,) = scene.replicas
            replica.signal(signal.SIGSTOP)
            events = made("disk", prefix="waiting", faulty=0)
            scene.deliver([next(events) for _ in range(5_000)])
            fill(small_disk)
            replica.signal(signal.SIGCONT)
            until_said(scene, "[53100]")
            (small_disk / "ballast").unlink()
            scene.until_routed()
            assert scene.verdict().acknowledged > 5_000
