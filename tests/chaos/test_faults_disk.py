"""A disk that is full, and then is not."""

from collections.abc import Iterator
from pathlib import Path

from tests.chaos.conftest import require
from tests.chaos.faults.disk import fill, make_room, small_disk
from tests.chaos.faults.fault import Fault
from tests.chaos.scene import Scene, scene_on
from tests.chaos.server import own_server
from tests.chaos.trial import trial, until_said


def test_no_room_for_rows(scene: Scene) -> None:
    """The server goes on and refuses what it has no room for: nobody is parked for it."""
    require("small-disk")
    trial(scene, "disk-full", during=lambda: until_said(scene, "[53100]"))


def test_no_room_for_the_log(tmp_path: Path) -> None:
    """The server itself crashes for want of room for its log; the service waits until somebody has made room."""
    require("small-disk")
    folder = tmp_path / "small"
    folder.mkdir()

    def no_room(scene: Scene) -> Iterator[None]:
        fill(folder)
        until_said(scene, "the connection is lost", "closed", "terminat", "refused")
        yield
        make_room(folder)
        if not scene.server.running:  # it may also be in the middle of another attempt
            scene.server.restart()

    with (
        small_disk(folder),
        own_server(data=folder, settings={"max_wal_size": "64MB", "wal_recycle": "off"}) as server,
        scene_on(server, "disk") as scene,
    ):
        trial(scene, Fault(name="disk-full-log", text="", course=no_room))
