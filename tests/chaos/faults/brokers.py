"""Kafka's brokers, its groups and its topics."""

import signal
from collections.abc import Iterator

from tests.chaos.faults.courses import meanwhile
from tests.chaos.faults.fault import fault
from tests.chaos.kafka import Kafka
from tests.chaos.scene import Scene
from tests.kafka.broker import Broker
from tests.waiting import wait_for


def _kafka(scene: Scene) -> Kafka:
    assert scene.kafka is not None
    return scene.kafka


def _killed(broker: Broker) -> Iterator[None]:
    broker.kill()
    yield
    broker.start()
    broker.until_up()


@fault("kafka-broker-killed", "kill -9 of one of three brokers", needs="kafka", asks_server=False, seconds=(2, 10))
def broker_killed(scene: Scene) -> Iterator[None]:
    yield from _killed(scene.chance.choice(_kafka(scene).cluster.brokers))


@fault(
    "kafka-coordinator-killed",
    "kill -9 of the broker that looks after the group",
    needs="kafka",
    asks_server=False,
    seconds=(2, 10),
)
def coordinator_killed(scene: Scene) -> Iterator[None]:
    yield from _killed(_kafka(scene).coordinator())


@fault(
    "kafka-coordinator-moved",
    "the group's broker is shut down in order, and comes back",
    needs="kafka",
    asks_server=False,
)
def coordinator_moved(scene: Scene) -> Iterator[None]:
    broker = _kafka(scene).coordinator()
    broker.signal(signal.SIGTERM)
    wait_for(lambda: not broker.running, what="the broker's end")
    yield from _killed(broker)


@fault(
    "kafka-frozen",
    "SIGSTOP of all brokers: connections stay, nobody answers",
    needs="kafka",
    asks_server=False,
    seconds=(2, 12),
)
def kafka_frozen(scene: Scene) -> Iterator[None]:
    brokers = _kafka(scene).cluster.brokers
    for broker in brokers:
        broker.signal(signal.SIGSTOP)
    yield
    for broker in brokers:
        broker.signal(signal.SIGCONT)


@fault(
    "kafka-rebalance-storm",
    "members join the group and leave it, one after the other",
    needs="kafka",
    asks_server=False,
)
def rebalance_storm(scene: Scene) -> Iterator[None]:
    kafka = _kafka(scene)
    with meanwhile(lambda: kafka.visit(0.5), every=0.05):
        yield


@fault(
    "kafka-topic-made-anew", "the topic is deleted and made again, its offsets begin at 0", needs="kafka", alone=True
)
def topic_made_anew(scene: Scene) -> Iterator[None]:
    kafka = _kafka(scene)
    with kafka.quiet():
        scene.ledger.forget_records(kafka.topic)
        kafka.delete()
        yield
        kafka.create()


@fault(
    "kafka-offsets-out-of-range", "the group is where records have expired", needs="kafka", alone=True, seconds=(1, 2)
)
def offsets_out_of_range(scene: Scene) -> Iterator[None]:
    kafka = _kafka(scene)
    readers = [replica for replica in scene.replicas if replica.kind.env == kafka.env]
    with kafka.quiet():
        for replica in readers:
            replica.end()
        kafka.expire()
    yield
    for replica in readers:
        scene.again(replica)
