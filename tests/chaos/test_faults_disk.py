"""A disk that is full, and then is not."""

from tests.chaos.conftest import require
from tests.chaos.scene import Scene
from tests.chaos.trial import trial, until_said


def test_no_room_for_rows(scene: Scene) -> None:
    """The server goes on and refuses what it has no room for: nobody is parked for it."""
    require("small-disk")
    trial(scene, "disk-full", during=lambda: until_said(scene, "[53100]"))


def test_no_room_for_the_log(scene: Scene) -> None:
    """The server itself crashes for want of room for its log; the service waits until somebody has made room."""
    require("small-disk")
    trial(scene, "disk-full-log", hold=3)
