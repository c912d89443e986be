"""The service reads Kafka with the rights that deploy/sql/roles.sql gives."""

import psycopg

from tests.deploy import service_login
from tests.kafka.inbox import assert_one_message_each
from tests.kafka.scene import Scene
from tests.kafka.topics import event
from tests.processes import running
from tests.waiting import await_for


async def test_a_service_without_rights_on_tables_routes_records(
    scene: Scene, database: str, db: psycopg.Connection
) -> None:
    """Records are stored and routed, and what is not an event becomes a dead letter, as the service's own login."""
    await scene.topics.send(scene.topic, [*[event(number) for number in range(50)], b"not json"])
    with service_login.made(database) as (_, dsn), running(dsn, env=scene.env) as router:

        async def all_done() -> bool:
            return await scene.committed() == 51

        await await_for(all_done, what=f"the commit of all offsets, {router.lines}")
        assert router.metric("webhook_router_kafka_dead_letters_total") == 1
        assert router.metric("webhook_router_loop_failures_total") == 0
    assert_one_message_each(db, 50)
