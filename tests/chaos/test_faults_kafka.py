"""Brokers that go away, groups that do not come to rest, topics that are not what they were."""

import itertools

import pytest

from tests.chaos.events import made
from tests.chaos.scene import Scene
from tests.chaos.trial import trial
from tests.waiting import wait_for


@pytest.mark.parametrize(
    "fault",
    ["kafka-broker-killed", "kafka-coordinator-killed", "kafka-coordinator-moved", "kafka-frozen"],
)
def test_brokers_go_away_and_come_back(kafka_scene: Scene, fault: str) -> None:
    """Nothing is lost, nothing is committed that is not in the database, and nobody restarts a replica."""
    trial(kafka_scene, fault, hold=1)


def test_a_rebalance_storm(kafka_scene: Scene) -> None:
    """Partitions change hands all the time, and two members may have one for a moment: the database decides."""
    trial(kafka_scene, "kafka-rebalance-storm", hold=4)


def test_the_topic_is_deleted_and_made_again(kafka_scene: Scene) -> None:
    """Positions of the old topic mean nothing in the new one, not even where it has grown as long as the old one."""
    kafka = kafka_scene.kafka
    assert kafka is not None
    trial(kafka_scene, "kafka-topic-made-anew")
    events = made("anew", prefix="anew", faulty=0)
    with kafka.quiet():
        kafka_scene.ledger.forget_records(kafka.topic)
        kafka.delete()
        kafka.create()
        # At once, and more than the old one held: a position kept from it would pass these by.
        batch = list(itertools.islice(events, 4_000))
        kafka_scene.ledger.enter(batch)
        kafka.send(batch, held=True)
        kafka_scene.ledger.acknowledge(batch)
    kafka.until_done()
    kafka_scene.until_routed()
    kafka_scene.verdict()


def test_the_groups_offsets_are_out_of_range(kafka_scene: Scene) -> None:
    """Where its records have expired, the group goes on with the first that are there, and says how many are not."""
    trial(kafka_scene, "kafka-offsets-out-of-range")
    wait_for(
        lambda: any(replica.logged("the broker has deleted records") for replica in kafka_scene.replicas),
        what=f"a line about it, {kafka_scene.says()}",
    )


@pytest.mark.parametrize("fault", ["postgres-killed", "replica-stopped"])
def test_a_reader_without_its_database(kafka_scene: Scene, fault: str) -> None:
    """What was read is read again; no offset is committed for what the database has not got."""
    trial(kafka_scene, fault, hold=8 if fault == "replica-stopped" else 4)


def test_a_reader_dies_before_it_can_commit_its_offsets(kafka_scene: Scene) -> None:
    """The same events come through the topic and through the table, with readers of both; nothing happens twice."""
    kafka_scene.start()
    trial(kafka_scene, "replica-killed-after-commit")
