"""A program and a schema of different releases, as during a deployment."""

from tests.chaos.faults import FAULTS
from tests.chaos.scene import Scene
from tests.chaos.trial import trial, until_said
from tests.waiting import wait_for

MIGRATE = "run `webhook-router migrate`"


def test_this_program_on_a_later_schema(scene: Scene) -> None:
    """Columns, indexes and functions that a later release adds do not disturb it, nor does their removal."""
    trial(scene, "schema-of-a-later-release")
    for replica in scene.replicas:
        assert not replica.logged("cannot go on"), replica.lines


def test_this_program_on_the_schema_before(scene: Scene) -> None:
    """A running service waits for the migration, and says so; nothing is lost meanwhile."""

    def missing() -> None:
        until_said(scene, MIGRATE)
        assert all(replica.get("/livez")[0] == 200 for replica in scene.replicas)

    trial(scene, "schema-of-the-release-before", during=missing)
    for replica in [replica for replica in scene.replicas if replica.logged("cannot go on")]:
        wait_for(lambda replica=replica: replica.logged("works again"), what=f"{replica.lines}")  # type: ignore[misc]


def test_who_starts_on_the_schema_before_ends(scene: Scene) -> None:
    """It says what to do and exits with 1: a deployment without its migration is noticed at once."""
    with FAULTS["schema-of-the-release-before"].on(scene):
        starting = scene.start()
        assert starting.stopped() == 1
        assert MIGRATE in str(starting.lines[-1]["event"])
    scene.again(starting).until_ready()
