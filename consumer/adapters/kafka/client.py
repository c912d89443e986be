"""aiokafka's consumers and producers, configured as this service needs them, and its errors translated into ours."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from consumer.adapters.kafka.options import REQUEST_TIMEOUT, SETTING, KafkaConnection, KafkaOptions
from consumer.adapters.kafka.reasons import (
    WRONG_CREDENTIALS,
    unreachable,
    why_unreachable,
    why_unreachable_as_advertised,
    words,
)
from consumer.adapters.kafka.tls import tls_context
from consumer.adapters.kafka.tokens import token_provider
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Transient

START_WITHIN = 30.0
LOOK_AFTER = 3.0
"""Seconds; what is not started by then is looked into: aiokafka goes on trying, and does not say what is wrong."""

NO_RIGHTS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)

WRONG_SETTINGS = {
    errors.InvalidSessionTimeoutError: (
        f"the brokers refuse {SETTING}SESSION_TIMEOUT: it must lie between their group.min.session.timeout.ms "
        "(6 seconds unless changed) and group.max.session.timeout.ms"
    ),
    errors.InconsistentGroupProtocolError: (
        f"the group has members that do not assign partitions by {RoundRobinPartitionAssignor.name}, as this service "
        f"does: {SETTING}GROUP_ID must name a group of its own"
    ),
    errors.InvalidGroupIdError: f"the brokers refuse {SETTING}GROUP_ID",
    errors.GroupIdNotFound: (f"{SETTING}GROUP_ID names a group of another kind: it must name a group of its own"),
    errors.InvalidTopicError: f"the brokers refuse the name of a topic: check {SETTING}TOPICS",
}
"""Where the driver's error says nothing."""


def make_consumer(connection: KafkaConnection, options: KafkaOptions) -> AIOKafkaConsumer:
    """A consumer that has subscribed to nothing yet: it must not create topics that are missing.

    Raises:
        Misconfigured: a certificate or key cannot be used.
    """
    session = int(options.session_timeout * 1000)
    return AIOKafkaConsumer(
        **_arguments(connection),
        group_id=options.group_id,
        group_instance_id=options.group_instance_id,
        client_rack=options.client_rack,
        enable_auto_commit=False,
        auto_offset_reset="none",  # a position that is gone must not silently become "latest"
        isolation_level="read_committed",
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=session,
        heartbeat_interval_ms=session // 4,
        rebalance_timeout_ms=session,
        max_poll_interval_ms=int(options.max_poll_interval * 1000),
        request_timeout_ms=_request_timeout(connection, at_least=options.session_timeout * 1.5),
        metadata_max_age_ms=int(options.metadata_age * 1000),
        fetch_max_bytes=options.fetch_max_bytes,
        fetch_min_bytes=options.fetch_min_bytes,
        fetch_max_wait_ms=int(options.fetch_max_wait * 1000),
        max_partition_fetch_bytes=options.max_partition_fetch_bytes,
    )


def make_producer(connection: KafkaConnection) -> AIOKafkaProducer:
    """A producer whose records are in the topic, once each, when their futures are done.

    Raises:
        Misconfigured: a certificate or key cannot be used.
    """
    return AIOKafkaProducer(
        **_arguments(connection),
        enable_idempotence=True,
        acks="all",
        compression_type="gzip",  # a dead letter is larger than its record, which may have had the largest size
        max_request_size=128 * 1024 * 1024,  # the broker decides what is too large
        max_batch_size=256 * 1024,
        linger_ms=5,
        request_timeout_ms=_request_timeout(connection),
    )


def make_client(connection: KafkaConnection) -> AIOKafkaClient:
    """A client that belongs to no group.

    Raises:
        Misconfigured: a certificate cannot be read.
    """
    return AIOKafkaClient(**_arguments(connection), request_timeout_ms=_request_timeout(connection))


def _request_timeout(connection: KafkaConnection, *, at_least: float = 0.0) -> int:
    """Milliseconds; what the user has set counts as it is."""
    return int((connection.request_timeout or max(REQUEST_TIMEOUT, at_least)) * 1000)


def _arguments(connection: KafkaConnection) -> dict[str, Any]:
    by_token = connection.sasl_mechanism == "OAUTHBEARER"
    return {
        "bootstrap_servers": connection.bootstrap_servers,
        "client_id": connection.client_id,
        "security_protocol": connection.security_protocol,
        "ssl_context": tls_context(connection),
        "sasl_mechanism": connection.sasl_mechanism,
        "sasl_plain_username": connection.sasl_username,
        "sasl_plain_password": connection.sasl_password,
        "sasl_oauth_token_provider": token_provider(connection.oauth) if by_token else None,
    }


def _of_connections(connection: KafkaConnection) -> dict[str, Any]:
    """The arguments that a single connection takes."""
    return {name: value for name, value in _arguments(connection).items() if name != "bootstrap_servers"}


async def started(client: AIOKafkaConsumer | AIOKafkaProducer, connection: KafkaConnection) -> None:
    """Starts a consumer or producer.

    Raises:
        Misconfigured: a broker refuses the credentials or the certificate, or wants another security protocol.
        Fatal: it denies a right.
        Transient: no broker answers, or none at the address that the cluster has for it.
    """
    try:
        async with asyncio.timeout(START_WITHIN):
            await _start(client, connection)
    except BaseException as error:
        await stopped(client, connection)
        if isinstance(error, errors.KafkaConnectionError):
            raise await why_unreachable(connection, _of_connections(connection)) from error
        if isinstance(error, errors.KafkaError):
            raise translation(error) from error
        if isinstance(error, TimeoutError):
            raise Transient(f"kafka: no answer within {START_WITHIN:g} s") from error
        raise


async def stopped(client: AIOKafkaConsumer | AIOKafkaProducer, connection: KafkaConnection) -> None:
    """Stops a client, and waits for it `stop_timeout` seconds at most. Never raises."""
    task: asyncio.Future[None] = asyncio.ensure_future(client.stop())
    _stopping.add(task)
    task.add_done_callback(_stopping.discard)
    await asyncio.wait({task}, timeout=connection.stop_timeout)
    if task.done() and not task.cancelled():
        task.exception()  # whatever it was, the client is gone


_stopping: set[asyncio.Future[None]] = set()
"""References to those that nothing waits for any more: asyncio itself keeps none."""


async def _start(client: AIOKafkaConsumer | AIOKafkaProducer, connection: KafkaConnection) -> None:
    """Raises what `client.start` does, and why no broker can be reached at the address that the cluster has for it."""
    driver = _driver(client)
    starting: asyncio.Future[None] = asyncio.ensure_future(client.start())
    try:
        await asyncio.wait({starting}, timeout=LOOK_AFTER)
        if starting.done():
            starting.result()
        if (not starting.done() or not await _reaches_a_broker(driver)) and (
            reason := await _why_not(driver, connection)
        ):
            raise reason
        await starting
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def lost_brokers(client: AIOKafkaConsumer | AIOKafkaProducer, connection: KafkaConnection) -> str:
    """Which brokers of a client that has started cannot be reached, and why not; empty: all can be."""
    brokers = [(broker.host, broker.port) for broker in _driver(client).cluster.brokers()]
    return await unreachable(brokers, connection, _of_connections(connection))


def _driver(client: AIOKafkaConsumer | AIOKafkaProducer) -> Any:  # noqa: ANN401 - aiokafka has no types
    return client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001 - it has no other


async def _reaches_a_broker(driver: Any) -> bool:  # noqa: ANN401 - aiokafka has no types
    try:
        async with asyncio.timeout(LOOK_AFTER):
            return bool(await driver.ready(driver.get_random_node()))
    except TimeoutError:
        return False


async def _why_not(driver: Any, connection: KafkaConnection) -> ConsumerError | None:  # noqa: ANN401
    arguments = _of_connections(connection)
    if brokers := [(broker.host, broker.port) for broker in driver.cluster.brokers()]:
        return await why_unreachable_as_advertised(brokers, connection, arguments)
    reason = await why_unreachable(connection, arguments)
    return reason if isinstance(reason, Misconfigured) else None


def translation(error: Exception) -> ConsumerError:
    """Which of our errors a driver's error is."""
    if isinstance(error, WRONG_CREDENTIALS):
        return Misconfigured(f"kafka: a broker refuses to let us in: {words(error)}")
    for kind, said in WRONG_SETTINGS.items():
        if isinstance(error, kind) or kind.__name__ in str(error):  # aiokafka wraps what it does not expect
            return Misconfigured(f"kafka: {said} ({kind.__name__})")
    if isinstance(error, NO_RIGHTS):
        return Fatal(f"kafka: the user lacks rights: {words(error)}")
    if isinstance(error, errors.UnsupportedCodecError):
        return Fatal(f"kafka: {words(error)}; install it, the records are compressed with it")
    return Transient(f"kafka: {words(error)}")
