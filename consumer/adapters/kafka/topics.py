"""Topics that are to be written: whether they exist, without making one by asking, and making them when told to."""

import asyncio
import contextlib
import difflib
import random
from collections.abc import Collection, Sequence
from typing import Any, Final

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.metadata import MetadataRequest

from consumer.adapters.kafka.client import translation
from consumer.domain.errors import Fatal, Misconfigured

KNOWN_WITHIN: Final = 2.0
"""Seconds until every broker knows of a topic that was just created."""
CREATED_WITHIN: Final = 15.0
_AGAIN_AFTER: Final = 0.1
_AS_THE_BROKERS_SAY: Final = -1


async def partitions_of(client: AIOKafkaClient, topics: Sequence[str], *, create: bool) -> dict[str, int]:
    """How many partitions each topic has.

    Args:
        create: makes those that are missing, with the brokers' default number of partitions and copies.

    Raises:
        Misconfigured: one does not exist and is not to be made, or has a name that no topic can have.
        Fatal: a right is missing.
        Transient: no broker answers.
    """
    try:
        found = await _asked(client, topics, within=KNOWN_WITHIN)
        missing = [topic for topic in topics if topic not in found]
        if missing and not create:
            raise await _missing(client, missing)
        if missing:
            await _made(client, missing)
            found = await _asked(client, topics, within=CREATED_WITHIN)
            if missing := [topic for topic in topics if topic not in found]:
                raise Fatal(f"topic {missing[0]} was created, but no broker knows it after {CREATED_WITHIN:g} s")
    except errors.KafkaError as error:
        raise translation(error) from error
    return found


async def _asked(client: AIOKafkaClient, topics: Sequence[str], *, within: float) -> dict[str, int]:
    """The partitions of those that exist; asks again for a while before it believes that one does not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within
    while True:
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        answer = await _answer(client, request)
        found = {}
        for code, topic, _, partitions in answer.topics:
            if code in {errors.NoError.errno, errors.LeaderNotAvailableError.errno}:
                found[topic] = len(partitions)
            elif code == errors.InvalidTopicError.errno:
                raise Misconfigured(f"{topic!r} cannot be the name of a topic")
            elif code != errors.UnknownTopicOrPartitionError.errno:
                raise errors.for_code(code)(topic)
        if len(found) == len(set(topics)) or loop.time() > until:
            return found
        await asyncio.sleep(_AGAIN_AFTER)


async def _answer(client: AIOKafkaClient, request: MetadataRequest) -> Any:  # noqa: ANN401 - of the protocol's version
    """What the first broker says that can be asked: one may be down."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    if not nodes:
        raise errors.KafkaConnectionError("no broker is known")
    random.shuffle(nodes)
    for node in nodes[:-1]:
        with contextlib.suppress(errors.KafkaError):
            return await client.send(node, request)
    return await client.send(nodes[-1], request)


async def _missing(client: AIOKafkaClient, missing: Sequence[str]) -> Misconfigured:
    everything = await _answer(client, MetadataRequest(None))
    known = [topic for _, topic, internal, _ in everything.topics if not internal]
    said = f"topic {missing[0]} does not exist" if len(missing) == 1 else f"topics {', '.join(missing)} do not exist"
    made = "it is" if len(missing) == 1 else "they are"
    return Misconfigured(
        f"{said}, and nothing was written{meant(missing[0], known) or '.'} With --create-topic {made} created"
    )


def meant(topic: str, known: Collection[str]) -> str:
    """The question whether another of the topics is meant, behind what is said of one that does not exist."""
    near = difflib.get_close_matches(topic, known, n=1, cutoff=0.8)
    return f"; is {near[0]} meant?" if near else ""


async def _made(client: AIOKafkaClient, topics: Sequence[str]) -> None:
    wanted: list[Any] = [(topic, _AS_THE_BROKERS_SAY, _AS_THE_BROKERS_SAY, [], []) for topic in topics]
    request = CreateTopicsRequest(create_topic_requests=wanted, timeout=int(CREATED_WITHIN * 1000), validate_only=False)
    if client.cluster.controller is None:
        await client.force_metadata_update()
    answer: Any = await client.send(client.cluster.controller.nodeId, request)
    for topic, code, *said in answer.topic_errors:
        if code not in {errors.NoError.errno, errors.TopicAlreadyExistsError.errno}:
            error = errors.for_code(code)
            if error.retriable:
                raise error(topic)
            reason = " ".join(str(word) for word in said if word) or error.__name__
            raise Fatal(f"topic {topic} cannot be created: {reason}")
