"""Records that say of which trace they are parts."""

import psycopg

from tests.kafka.inbox import until_messages
from tests.kafka.scene import Scene
from tests.kafka.topics import event
from tests.otlp import CONSUMER, collecting
from tests.processes import running

TRACES = [("4bf92f3577b34da6a3ce929d0e0e4736", f"00f067aa0ba902b{number}") for number in range(3)]


async def test_a_poll_is_linked_to_what_its_records_are_parts_of(
    scene: Scene, database: str, db: psycopg.Connection
) -> None:
    """Its batches are below it; a record that is set aside is seen in the trace of whoever has sent it."""
    values = [event(0), event(1), b"no JSON"]
    headers = [[("traceparent", f"00-{trace}-{span}-01".encode())] for trace, span in TRACES]
    with collecting() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with running(database, env=scene.env | variables) as router:
            await scene.topics.send_each(
                scene.topic, [(value, named, 0) for value, named in zip(values, headers, strict=True)]
            )
            until_messages(db, 2)
            await scene.until_committed(3)
            collector.until(lambda: collector.of("dead letter"), f"a dead letter, {router.lines}")
            name = f"process {scene.topic}"
            collector.until(
                lambda: {link for poll in collector.of(name) for link in poll.links} == set(TRACES), "links"
            )
    polls = {poll.id: poll for poll in collector.of(name)}
    assert {poll.kind for poll in polls.values()} == {CONSUMER}
    assert sum(int(str(poll.attributes["messaging.batch.message_count"])) for poll in polls.values()) == 3
    assert {poll.attributes["messaging.consumer.group.name"] for poll in polls.values()} == {scene.group}
    batches = collector.of("route kafka")
    assert {batch.parent for batch in batches} <= polls.keys()
    (letter,) = collector.of("dead letter")
    assert ((letter.trace, letter.parent), letter.is_error) == (TRACES[2], True)
