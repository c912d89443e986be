"""Why brokers cannot be reached, in words that name the setting to change. aiokafka only writes it to its own log."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from consumer.adapters.kafka.options import SETTING, KafkaConnection
from consumer.adapters.kafka.tokens import NoToken
from consumer.domain.errors import ConsumerError, Misconfigured, Transient

ASK_WITHIN = 5.0
WRONG_CREDENTIALS = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)
UNREACHABLE = (OSError, errors.KafkaError, TimeoutError, asyncio.IncompleteReadError)

Address = tuple[str, int]


async def why_unreachable(connection: KafkaConnection, arguments: dict[str, Any]) -> ConsumerError:
    """Why none of the bootstrap servers lets us in; each is asked again. `arguments`: of aiokafka's connections."""
    servers = _servers(connection)
    found = await _asked(servers, connection, arguments)
    if wrong := [outcome for outcome in found if isinstance(outcome, Misconfigured)]:
        return wrong[0]
    said = "; ".join(
        f"{_name(server)}: {outcome or 'back again'}" for server, outcome in zip(servers, found, strict=True)
    )
    if all(_is_unknown(outcome) for outcome in found):
        hosts = ", ".join(dict.fromkeys(host for host, _ in servers))
        return Transient(f"kafka: cannot find the host {hosts}: check {SETTING}BOOTSTRAP_SERVERS, or the name service")
    return Transient(f"kafka: no broker can be reached ({said})")


async def why_unreachable_as_advertised(
    brokers: Iterable[Address], connection: KafkaConnection, arguments: dict[str, Any]
) -> ConsumerError | None:
    """Why none of the brokers can be reached at the address that the cluster has for it; None if one can be."""
    there = list(dict.fromkeys(brokers))
    found = await _asked(there, connection, arguments)
    if not there or not all(found):
        return None
    if wrong := [outcome for outcome in found if isinstance(outcome, Misconfigured)]:
        return wrong[0]
    said = "; ".join(f"{_name(broker)}: {outcome}" for broker, outcome in zip(there, found, strict=True))
    if set(there) <= set(_servers(connection)):
        return Transient(f"kafka: no broker can be reached ({said})")
    return Transient(
        f"kafka: {connection.bootstrap_servers} can be reached, but no broker at the address advertised by the cluster "
        f"({said}); advertised.listeners of the brokers must name hosts that can be reached from here"
    )


async def unreachable(brokers: Iterable[Address], connection: KafkaConnection, arguments: dict[str, Any]) -> str:
    """Those of the brokers that cannot be reached at the address that the cluster has for them, and why not."""
    there = list(dict.fromkeys(brokers))
    found = await _asked(there, connection, arguments)
    return "; ".join(f"{_name(broker)}: {outcome}" for broker, outcome in zip(there, found, strict=True) if outcome)


def _servers(connection: KafkaConnection) -> list[Address]:
    return [(host, port) for host, port, _ in collect_hosts(connection.bootstrap_servers, randomize=False)]


async def _asked(
    servers: Sequence[Address], connection: KafkaConnection, arguments: dict[str, Any]
) -> list[ConsumerError | None]:
    """By server, what is wrong; None: nothing is."""
    return list(await asyncio.gather(*(_ask(server, connection, arguments) for server in servers)))


class _Unknown(Transient):
    """The name service has no such host."""


def _is_unknown(outcome: ConsumerError | None) -> bool:
    return isinstance(outcome, _Unknown)


async def _ask(server: Address, connection: KafkaConnection, arguments: dict[str, Any]) -> ConsumerError | None:
    try:
        client = await _connect(server, arguments)
    except UNREACHABLE as error:
        return (
            _about_names_and_tokens(error)
            or await _about_sasl(error, server, connection, arguments)
            or await _about_tls(error, server, connection, arguments)
            or Transient(words(error))
        )
    by_token = "SASL" in connection.security_protocol and connection.sasl_mechanism == "OAUTHBEARER"
    refused = _refused(server, "it does not accept the token") if by_token else None  # aiokafka does not look at that
    try:
        return None if (await client.send(MetadataRequest([]))).brokers else refused
    except UNREACHABLE as error:
        return refused or await _sasl_wanted(server, arguments) or Transient(words(error))
    finally:
        client.close()


def _about_names_and_tokens(error: BaseException) -> ConsumerError | None:
    if isinstance(error, socket.gaierror):
        return _Unknown("cannot find the host")
    if isinstance(error, NoToken):
        return Misconfigured(f"kafka: {error.reason}") if error.lasting else Transient(error.reason)
    return None


async def _about_sasl(
    error: BaseException, server: Address, connection: KafkaConnection, arguments: dict[str, Any]
) -> Misconfigured | None:
    if isinstance(error, errors.IllegalSaslStateError):
        return Misconfigured(
            f"kafka: {_name(server)} wants no SASL: {SETTING}SECURITY_PROTOCOL must be "
            f"{connection.security_protocol.removeprefix('SASL_')}, or the port another"
        )
    if isinstance(error, errors.UnsupportedSaslMechanismError):
        offered = ", ".join(await _mechanisms(server, arguments))
        return Misconfigured(
            f"kafka: {_name(server)} refuses to let us in: it does not have {connection.sasl_mechanism}"
            f"{', but ' + offered if offered else ''}; check {SETTING}SASL_MECHANISM"
        )
    return _refused(server, words(error)) if isinstance(error, WRONG_CREDENTIALS) else None


async def _sasl_wanted(server: Address, arguments: dict[str, Any]) -> Misconfigured | None:
    """A broker that wants SASL closes the connection of whoever does not begin with it, without a word."""
    protocol = arguments["security_protocol"]
    offered = () if protocol.startswith("SASL") else await _mechanisms(server, arguments)
    if not offered:
        return None
    secure = "SASL_SSL" if protocol == "SSL" else "SASL_PLAINTEXT"
    return Misconfigured(
        f"kafka: {_name(server)} wants SASL: {SETTING}SECURITY_PROTOCOL must be {secure}, and {SETTING}SASL_MECHANISM "
        f"one of {', '.join(offered)}"
    )


def _refused(server: Address, reason: str) -> Misconfigured:
    return Misconfigured(
        f"kafka: {_name(server)} refuses to let us in: {reason}; check the security protocol, the SASL mechanism, the "
        "user name and the password or token"
    )


async def _about_tls(
    error: BaseException, server: Address, connection: KafkaConnection, arguments: dict[str, Any]
) -> Misconfigured | None:
    if isinstance(error, ConnectionRefusedError):
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
    elif other := await _other_protocol(server, connection, arguments):
        return other
    elif isinstance(error, ssl.SSLError):
        said = error.reason or words(error)
    else:
        return None
    return Misconfigured(
        f"kafka: no TLS with {_name(server)}: {said}; check the security protocol and the certificates "
        f"({SETTING}SSL_CAFILE)"
    )


async def _other_protocol(
    server: Address, connection: KafkaConnection, arguments: dict[str, Any]
) -> Misconfigured | None:
    """Whether the server would talk to us if we used TLS, or did not, or had a certificate."""
    protocol = connection.security_protocol
    if not protocol.endswith("SSL"):
        if not await _speaks_tls(server):
            return None
        wanted = "SASL_SSL" if protocol == "SASL_PLAINTEXT" else "SSL or SASL_SSL"
        return Misconfigured(f"kafka: {_name(server)} speaks TLS: {SETTING}SECURITY_PROTOCOL must be {wanted}")
    if await _speaks_tls(server):
        if connection.ssl_certfile is None and await _wants_certificate(server, arguments["ssl_context"]):
            return Misconfigured(
                f"kafka: {_name(server)} wants a certificate of ours: set {SETTING}SSL_CERTFILE and "
                f"{SETTING}SSL_KEYFILE"
            )
        return None
    with contextlib.suppress(*UNREACHABLE):
        (await _connect(server, arguments | {"security_protocol": "PLAINTEXT"})).close()
        wanted = "SASL_PLAINTEXT" if protocol == "SASL_SSL" else "PLAINTEXT or SASL_PLAINTEXT"
        return Misconfigured(
            f"kafka: {_name(server)} does not speak TLS: {SETTING}SECURITY_PROTOCOL must be {wanted}, or the "
            "port another"
        )
    return None


async def _connect(server: Address, arguments: dict[str, Any]) -> AIOKafkaConnection:
    host, port = server
    return await create_conn(host, port, **(arguments | {"request_timeout_ms": int(ASK_WITHIN * 1000)}))


async def _mechanisms(server: Address, arguments: dict[str, Any]) -> Sequence[str]:
    """What SASL the server has; nothing if it has none or does not say."""
    bare = arguments["security_protocol"].removeprefix("SASL_")
    try:
        client = await _connect(server, arguments | {"security_protocol": bare})
        try:
            return sorted((await client.send(SaslHandShakeRequest("?"))).enabled_mechanisms)
        finally:
            client.close()
    except UNREACHABLE:
        return ()


async def _speaks_tls(server: Address) -> bool:
    """Whether a handshake gets through, whoever the server is: nothing is said to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(ASK_WITHIN):
            _, writer = await asyncio.open_connection(*server, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _wants_certificate(server: Address, context: ssl.SSLContext) -> bool:
    """A broker that does closes the connection after the handshake (TLS 1.3), with an alert that says so."""
    try:
        async with asyncio.timeout(ASK_WITHIN):
            reader, writer = await asyncio.open_connection(*server, ssl=context)
            try:
                await reader.read(1)
            finally:
                writer.close()
    except ssl.SSLError as error:
        return "CERTIFICATE" in (error.reason or "")
    except (OSError, TimeoutError):
        pass
    return False


def _name(server: Address) -> str:
    return f"{server[0]}:{server[1]}"


def words(error: BaseException) -> str:
    """What an error says, in one line; many of aiokafka's say nothing but their name."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror | ssl.SSLError):
        text = os.strerror(error.errno)
    if isinstance(error, TimeoutError) and not text:
        return "no answer in time"
    return text or type(error).__name__
