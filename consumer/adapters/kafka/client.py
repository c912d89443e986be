"""aiokafka's consumers and producers, configured as this service needs them, and its errors translated into ours."""

import asyncio
import os
import ssl
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Transient

REQUEST_TIMEOUT = 10.0
"""Seconds; longer where a session is longer, since joining a group may take as long as one."""
START_WITHIN = 30.0
FETCH_BYTES = 16 * 1024 * 1024
"""From one broker at a time, so that a poll has a bound in bytes as well."""

WRONG_CREDENTIALS = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)
NO_RIGHTS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)


def make_consumer(connection: KafkaConnection, options: KafkaOptions) -> AIOKafkaConsumer:
    """A consumer that has subscribed to nothing yet: it must not create topics that are missing.

    Raises:
        Misconfigured: a certificate cannot be read.
    """
    session = int(options.session_timeout * 1000)
    return AIOKafkaConsumer(
        **_arguments(connection),
        group_id=options.group_id,
        enable_auto_commit=False,
        auto_offset_reset="none",  # a position that is gone must not silently become "latest"
        isolation_level="read_committed",
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=session,
        heartbeat_interval_ms=session // 4,
        rebalance_timeout_ms=session,
        request_timeout_ms=int(max(REQUEST_TIMEOUT, options.session_timeout * 1.5) * 1000),
        metadata_max_age_ms=int(options.metadata_age * 1000),
        fetch_max_bytes=FETCH_BYTES,
    )


def make_producer(connection: KafkaConnection) -> AIOKafkaProducer:
    """A producer whose records are in the topic, once each, when their futures are done.

    Raises:
        Misconfigured: a certificate cannot be read.
    """
    return AIOKafkaProducer(
        **_arguments(connection),
        enable_idempotence=True,
        acks="all",
        compression_type="gzip",  # a dead letter is larger than its record, which may have had the largest size
        max_request_size=128 * 1024 * 1024,  # the broker decides what is too large
        max_batch_size=256 * 1024,
        linger_ms=5,
        request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
    )


def make_client(connection: KafkaConnection) -> AIOKafkaClient:
    """A client that belongs to no group.

    Raises:
        Misconfigured: a certificate cannot be read.
    """
    return AIOKafkaClient(**_arguments(connection), request_timeout_ms=int(REQUEST_TIMEOUT * 1000))


def _arguments(connection: KafkaConnection) -> dict[str, Any]:
    return {
        "bootstrap_servers": connection.bootstrap_servers,
        "client_id": "webhook-router",
        "security_protocol": connection.security_protocol,
        "ssl_context": _tls(connection),
        "sasl_mechanism": connection.sasl_mechanism,
        "sasl_plain_username": connection.sasl_username,
        "sasl_plain_password": connection.sasl_password,
    }


def _tls(connection: KafkaConnection) -> ssl.SSLContext | None:
    if connection.security_protocol not in {"SSL", "SASL_SSL"}:
        return None
    about = connection.ssl_cafile
    try:
        context = ssl.create_default_context(cafile=connection.ssl_cafile)
        if connection.ssl_certfile is not None:
            about = connection.ssl_certfile
            context.load_cert_chain(connection.ssl_certfile, connection.ssl_keyfile)
    except OSError as error:
        raise Misconfigured(f"kafka: cannot read the certificate {about}: {error.strerror or error}") from error
    return context


async def started(client: AIOKafkaConsumer | AIOKafkaProducer, connection: KafkaConnection) -> None:
    """Starts a consumer or producer.

    Raises:
        Misconfigured: a broker refuses the credentials or the certificate.
        Fatal: it denies a right.
        Transient: no broker answers.
    """
    try:
        async with asyncio.timeout(START_WITHIN):
            await client.start()
    except BaseException as error:
        await stopped(client, connection)
        if isinstance(error, errors.KafkaConnectionError):
            raise await _reason(connection) from error
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


async def _reason(connection: KafkaConnection) -> ConsumerError:
    """Why no broker could be reached. aiokafka only writes it to its log, so each is asked again."""
    arguments = _arguments(connection)
    del arguments["bootstrap_servers"]
    said = []
    for host, port, _ in collect_hosts(connection.bootstrap_servers, randomize=False):
        try:
            (await create_conn(host, port, request_timeout_ms=5000, **arguments)).close()
        except WRONG_CREDENTIALS as error:
            return Misconfigured(
                f"kafka: {host}:{port} refuses to let us in: {_words(error)}; check the security protocol, the SASL "
                "mechanism, the user name and the password"
            )
        except ssl.SSLError as error:
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
            return Misconfigured(
                f"kafka: no TLS with {host}:{port}: {why}; check the security protocol and the certificates"
            )
        except (OSError, errors.KafkaError, TimeoutError) as error:
            said.append(f"{host}:{port}: {_words(error)}")
        else:
            said.append(f"{host}:{port}: back again")
    return Transient(f"kafka: no broker can be reached ({'; '.join(said)})")


def translation(error: Exception) -> ConsumerError:
    """Which of our errors a driver's error is."""
    if isinstance(error, WRONG_CREDENTIALS):
        return Misconfigured(f"kafka: a broker refuses to let us in: {_words(error)}")
    if isinstance(error, NO_RIGHTS):
        return Fatal(f"kafka: the user lacks rights: {_words(error)}")
    if isinstance(error, errors.UnsupportedCodecError):
        return Fatal(f"kafka: {_words(error)}; install it, the records are compressed with it")
    return Transient(f"kafka: {_words(error)}")


def _words(error: Exception) -> str:
    """What an error says, in one line; many of aiokafka's say nothing but their name."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno)
    return text or type(error).__name__
