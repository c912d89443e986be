"""Servers that go away, refuse, wait, or answer with errors."""

import itertools

import psycopg
import pytest

from tests.chaos.conftest import require
from tests.chaos.events import made
from tests.chaos.faults.courses import session
from tests.chaos.scene import Scene
from tests.chaos.trial import trial, until_said
from tests.waiting import wait_for


@pytest.mark.parametrize(
    "fault",
    ["postgres-restarted", "postgres-stopped-immediate", "postgres-killed"],
)
def test_the_server_goes_away_and_comes_back(scene: Scene, fault: str) -> None:
    """In whatever way it ends: the replicas wait for it and need no help."""

    def outage() -> None:
        for replica in scene.replicas:
            wait_for(lambda replica=replica: replica.get("/readyz")[0] == 503, what="not ready")  # type: ignore[misc]
            assert replica.get("/livez")[0] == 200

    trial(scene, fault, during=outage)


def test_the_server_freezes(scene: Scene) -> None:
    """Nobody answers and nothing breaks: calls are given up `call_timeout` and five seconds later at most."""

    def frozen() -> None:
        until_said(scene, "no answer")
        assert all(replica.get("/livez")[0] == 200 for replica in scene.replicas)

    for _ in range(2):
        scene.start(scene.kind("--call-timeout", "1"))
    trial(scene, "postgres-frozen", during=frozen)


def test_the_server_is_a_standby_for_a_while(scene: Scene) -> None:
    """A standby only reads, so nobody stays with it: nobody is parked for it, and the promotion is found."""
    trial(scene, "postgres-in-recovery", during=lambda: until_said(scene, "standby mode"))


def test_the_server_is_read_only_for_a_while(scene: Scene) -> None:
    """As when a disk is nearly full, or before a switch-over."""
    trial(scene, "postgres-read-only", during=lambda: until_said(scene, "[25006]"))


def test_the_listener_is_terminated_again_and_again(scene: Scene) -> None:
    """Polling goes on meanwhile; it listens again afterwards."""
    trial(scene, "listener-terminated", hold=2)
    for replica in scene.replicas:
        replica.until_listening()
        assert replica.metric("webhook_router_listener_lost_total") > 0


def test_all_sessions_are_terminated_in_a_loop(scene: Scene) -> None:
    """No call of a session that lives a fifth of a second is trusted to have worked."""
    trial(scene, "backends-terminated", hold=2, during=lambda: until_said(scene, "57P01", "terminat", "closed"))


def test_calls_are_cancelled_in_a_loop(scene: Scene) -> None:
    """Whoever cancels a call is not the event's fault: nothing is parked for it."""
    trial(scene, "calls-cancelled", hold=3)


def test_a_listener_that_sits_in_a_transaction(scene: Scene) -> None:
    """Notifications pile up until their queue is full: the metric shows it, and no application is refused for it."""
    if scene.server.major < 17:
        pytest.skip("the queue of this version holds 8 GB, and cannot be made smaller")

    def full() -> None:
        wait_for(lambda: scene.database.value("select pg_notification_queue_usage()") > 0.95, what="a full queue")
        ratio = "webhook_router_notification_queue_usage_ratio"
        wait_for(lambda: scene.replicas[0].metric(ratio) > 0.9, what="the metric")
        for event in itertools.islice(made("queue", prefix="queue", faulty=0), 100):
            scene.deliver([event])  # raises when it is refused

    trial(scene, "notification-queue-fills", during=full)


def test_all_connections_are_taken(scene: Scene) -> None:
    """The service cannot connect again until others leave, says why, and stays alive."""

    def full() -> None:
        until_said(scene, "[53300]", "too many", "reserved")
        assert all(replica.get("/livez")[0] == 200 for replica in scene.replicas)

    trial(scene, "connections-exhausted", during=full)


def test_the_pool_is_exhausted(scene: Scene) -> None:
    """All sessions of a transaction pooler are in use: calls wait, time out, and nothing is parked for it."""
    require("pgbouncer")
    lonely = scene.start(scene.kind("--call-timeout", "1", behind_pooler=True))

    def full() -> None:
        until_said(scene, "no answer")
        assert lonely.get("/livez")[0] == 200

    trial(scene, "pool-exhausted", during=full)


@pytest.mark.parametrize("fault", ["backends-terminated", "postgres-restarted", "replica-killed-in-transaction"])
def test_a_transaction_pooler_in_between(scene: Scene, fault: str) -> None:
    """The same guarantees where sessions are not one's own, and nobody hears a notification."""
    require("pgbouncer")
    for _ in range(2):
        scene.start(scene.kind(behind_pooler=True))
    trial(scene, fault, hold=2)


def test_statements_time_out(scene: Scene) -> None:
    """Batches shrink to what the time allows; no event is parked, since each alone is fast enough."""
    trial(scene, "statement-timeout", hold=3)


def test_locks_time_out(scene: Scene) -> None:
    """A lock that others hold is nobody's fault."""
    trial(scene, "lock-timeout", hold=3, during=lambda: until_said(scene, "[55P03]"))


def test_the_service_is_the_victim_of_deadlocks(scene: Scene) -> None:
    """It rolls back and tries again, for as long as the application locks in the wrong order."""
    trial(scene, "deadlock", hold=3, during=lambda: until_said(scene, "[40P01]"))


def test_serialization_fails(scene: Scene) -> None:
    """It is tried again, as often as it takes; what sessions have for a default does not reach the service."""
    trial(scene, "serialization-failures", hold=3, during=lambda: until_said(scene, "[40001]"))


def test_transactions_are_repeatable_read_by_default(scene: Scene) -> None:
    """A snapshot that does not see what others have made meanwhile must not make it twice."""
    trial(scene, "repeatable-read", hold=4)


def test_a_caller_with_an_old_snapshot_makes_no_second_conversation(scene: Scene) -> None:
    """Two calls of the application in repeatable read transactions: the one that could not see the other is refused."""
    events = made("snapshot", prefix="snapshot", authors=1, faulty=0)
    first, *others = [event for event in itertools.islice(events, 20) if event.author_id is not None][:3]
    with psycopg.connect(scene.application_dsn()) as one, psycopg.connect(scene.application_dsn()) as other:
        scene.deliver([first])
        scene.database.rows("select public.route_unrouted_events()")
        scene.database.rows("update public.conversations set status = 'closed'")
        scene.deliver(others)
        call = "select public.route_webhook_event(%s, %s)"
        one.execute(call, (others[0].channel, others[0].event_id))
        other.execute("set transaction isolation level repeatable read")
        other.execute("select count(*) from public.webhook_events")
        one.commit()
        with pytest.raises(psycopg.errors.InvalidTransactionState, match="no conversation can be made"):
            other.execute(call, (others[1].channel, others[1].event_id))
    scene.database.rows("select public.route_unrouted_events()")
    assert scene.verdict().events == 3


def test_a_long_snapshot(scene: Scene) -> None:
    """A report that keeps the dead from being cleaned up costs some speed and nothing else."""
    trial(scene, "long-snapshot", hold=3)


def test_ddl_takes_an_exclusive_lock(scene: Scene) -> None:
    """For so long that calls time out down to a single event: that event is not to blame and not parked."""
    for _ in range(2):
        scene.start(scene.kind("--call-timeout", "1"))
    trial(scene, "exclusive-lock", hold=9, during=lambda: until_said(scene, "while these are locked"))


def test_somebody_sits_on_a_conversation(scene: Scene) -> None:
    """Nobody else waits with it: its event is set aside as too slow, and routed when it is tried again."""
    events = [event for event in itertools.islice(made("sits", prefix="sits", faulty=0), 400) if event.author_id]
    first = list({event.author_id: event for event in events}.values())
    again = [event for event in events if event not in first]
    scene.start(scene.kind("--call-timeout", "0.5")).until_listening()
    scene.deliver(first)
    scene.until_routed()
    taken = [event for event in again if event.author_id == again[0].author_id]
    with session(
        scene,
        f"""select from public.conversations v
            join public.contact_channels k on k.contact_id = v.contact_id
            where k.external_id = '{again[0].author_id}' for update of v""",
    ):
        scene.deliver(again)
        scene.until_routed()  # or parked
        parked = scene.database.rows("select error_code from router.parked_events")
        assert parked == [("57014",)] * len(taken)
    scene.database.rows("select router.retry_parked()")
    waiting = "select count(*) from public.webhook_events where routed_at is null"
    wait_for(lambda: scene.database.value(waiting) == 0, what="the others")
    assert scene.database.value("select count(*) from public.messages") == len(events)


def test_the_schema_is_applied_under_traffic(scene: Scene) -> None:
    """Functions are replaced under the calls that run."""
    trial(scene, "migrated-while-serving", hold=3)
    with session(scene) as connection:
        assert connection.execute("select count(*) from router.parked_events").fetchone() is not None
