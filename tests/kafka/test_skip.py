"""`webhook-router kafka …`: positions as brokers and database know them, and records that nothing can read."""

import json
import shlex
from functools import partial

import psycopg

from tests.deploy import service_login
from tests.deploy.test_runbook import told
from tests.kafka.broker import Cluster
from tests.kafka.damage import damaged
from tests.kafka.inbox import until_messages
from tests.kafka.scene import kafka_env
from tests.kafka.topics import unique
from tests.processes import command, running
from tests.waiting import wait_for

NOTE = "select from router.note_positions(%s, array[%s], array[0], array[null]::bigint[], array[%s]::bigint[])"
SKIPPED = "select skipped from router.kafka_positions where group_id = %s"


async def test_a_damaged_record_is_given_up(kafka: Cluster, database: str, db: psycopg.Connection) -> None:
    """By the service's login; and nothing that can be read, is done with, or is not there. Exit codes as elsewhere."""
    topic, group = await damaged(kafka, at=1, records=3), unique("group")
    env = kafka_env(kafka.bootstrap, topic, "dead", group)
    with service_login.made(database) as (_, served):
        typed = partial(command, "kafka", "skip", dsn=served, env=env)
        for arguments, said in (
            ((topic, "0", "0"), f"record 0 in partition 0 of {topic} can be read; nothing to skip"),
            ((topic, "0", "3"), f"partition 0 of {topic} has offsets 0 to 2; there is no record 3"),
            ((topic, "1", "0"), f"{topic} has no partition 1; its last one is 0"),
            (("absent", "0", "0"), "there is no topic absent, or not for this user"),
            ((f"{topic}x", "0", "0"), f"is {topic} meant?"),
            ((topic, "0", "1"), f"the database knows nothing of group {group} in partition 0"),
        ):
            done = typed(*arguments)
            assert (done.returncode, done.stdout) == (1, ""), arguments
            assert said in done.stderr, done.stderr
        assert typed(topic, "0", "one").returncode == 2
        db.execute(NOTE, (group, topic, 1))
        done = typed(topic, "0", "1", "--json")
        assert done.returncode == 0, done.stderr
        about = {"group": group, "topic": topic, "partition": 0, "offset": 1, "next_offset": 1}
        assert about.items() <= json.loads(done.stdout).items()
        assert db.execute(SKIPPED, (group,)).fetchall() == [(1,)]
        assert f"record 1 in partition 0 of {topic} is given up" in typed(topic, "0", "1").stdout
        listed = command("kafka", "positions", "--json", dsn=served, env=env)
        (place,) = json.loads(listed.stdout)
        assert place == {
            "topic": topic,
            "partition": 0,
            "begin": 0,
            "end": 3,
            "group": None,
            "database": 1,
            "behind": None,
            "given_up": 1,
        }
        listed = command("kafka", "positions", "--kafka-group-id", "absent", dsn=served, env=env)
        assert "group absent has no position here" in listed.stderr
        pattern = {name: text for name, text in env.items() if not name.endswith("KAFKA_TOPICS")}
        listed = command("kafka", "positions", "--kafka-topics-pattern", "absent.*", dsn=served, env=pattern)
        assert (listed.returncode, listed.stdout) == (1, "")
        assert "no topic matches absent.*" in listed.stderr
        db.execute(NOTE, (group, topic, 2))
        done = typed(topic, "0", "1")
        assert done.returncode == 1
        assert f"group {group} is at 2 in partition 0 of {topic}: record 1 is behind it" in done.stderr


async def test_a_service_goes_on_behind_it(kafka: Cluster, database: str, db: psycopg.Connection) -> None:
    """What its log says to type, and the runbook, is typed: it goes on, and counts. It has been ready throughout."""
    topic = await damaged(kafka, at=1, records=3)
    group = unique("group")
    env = kafka_env(kafka.bootstrap, topic, "dead", group)
    with running(database, env=env) as router:
        until_messages(db, 1)
        (joined,) = router.logged("reading as a member of the group")
        assert (joined["group"], joined["topics"]) == (group, topic)
        assert joined["cluster"]
        (begun,) = router.logged("the group begins here")
        assert (begun["topic"], begun["offsets"]) == (topic, "0: 0")
        (line,) = wait_for(partial(router.logged, "a record can be neither read nor set aside"), what="the line")
        stuck = partial(router.metric, "webhook_router_kafka_stuck_partitions", topic=topic, partition="0")
        assert (stuck(), router.get("/readyz")[0]) == (1, 200)
        typed = line["advice"].partition("to give the record up: ")[2]
        of_page = told("WebhookRouterKafkaPartitionStuck", "webhook-router kafka skip")
        assert typed == of_page.replace("TOPIC", topic).replace("PARTITION", "0").replace("OFFSET", "1")
        shown = told("WebhookRouterKafkaPartitionStuck", "webhook-router kafka positions")
        for code in (shown, typed):
            done = command(*shlex.split(code)[1:], dsn=database, env=env)
            assert done.returncode == 0, done.stderr
        until_messages(db, 2)
        assert router.logged("a record was given up")
        assert stuck() == 0
        assert router.metric("webhook_router_kafka_records_given_up_total", topic=topic, partition="0") == 1
