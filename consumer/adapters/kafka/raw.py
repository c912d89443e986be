"""Questions to the brokers that aiokafka's consumer cannot ask, over connections of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from consumer.adapters.kafka.batches import Parted, parted
from consumer.adapters.kafka.client import make_client, translation
from consumer.adapters.kafka.options import KafkaConnection
from consumer.domain.errors import Transient
from consumer.domain.lag import Partition

BYTES = 1024 * 1024
"""Of one answer; a batch that is larger comes as a whole."""
READ_COMMITTED = 1
PASSING = (
    errors.NotLeaderForPartitionError,
    errors.LeaderNotAvailableError,
    errors.UnknownTopicOrPartitionError,
    errors.ReplicaNotAvailableError,
    errors.RequestTimedOutError,
)
"""Answers that another broker, or the same one a little later, does not give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a partition has at an offset."""

    parted: Parted
    end: int
    """Where it ends, as far as transactions are not open."""


class Brokers:
    """The brokers of a cluster, to be asked one thing after the other."""

    def __init__(self, client: AIOKafkaClient, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def cluster(self) -> str:
        """The cluster's id; empty: the brokers do not tell.

        Raises:
            Transient: there was no answer.
        """
        answer = await self._sent(self._any(), MetadataRequest([]))
        return getattr(answer, "cluster_id", None) or ""

    async def everything(self) -> ClusterMetadata:
        """All topics and their partitions, as far as the user may see them.

        Raises:
            Transient: there was no answer.
        """
        return await self._answer(self._client.fetch_all_metadata())

    async def look(self, partition: Partition, offset: int) -> Look | None:
        """Reads what is there; None: the offset does not exist.

        Raises:
            Transient: there was no answer, or none that counts.
            UnsupportedCodecError: a library is missing here.
        """
        leader = await self._leader(partition)
        wanted = [(partition.topic, [(partition.partition, offset, BYTES)])]
        request = FetchRequest(100, 1, BYTES, READ_COMMITTED, wanted)
        answer = await self._sent(leader, request)
        code, highwater, *more = _of_one(answer)
        error = errors.for_code(code)
        if error is errors.OffsetOutOfRangeError:
            return None
        if error in PASSING:
            raise Transient(f"kafka: {error.message}")
        stable, aborted, data = more[0], more[2] if answer.API_VERSION >= 5 else more[1], more[-1]
        end = stable if stable >= 0 else highwater
        if error is not errors.NoError:
            return _nothing(offset, f"the broker answers {error.message}", end)
        if not data:
            return _nothing(offset, "the broker has nothing there" if end > offset else None, end)
        return Look(parted=_parted(bytes(data), offset, aborted or (), end), end=end)

    async def end(self, partition: Partition) -> int:
        """Where a partition ends, as far as transactions are not open.

        Raises:
            Transient: there was no answer, or none that counts.
        """
        leader = await self._leader(partition)
        request = OffsetRequest(-1, READ_COMMITTED, [(partition.topic, [(partition.partition, -1)])])
        answer = await self._sent(leader, request)
        code, *more = _of_one(answer)
        error = errors.for_code(code)
        if error is not errors.NoError:
            raise Transient(f"kafka: {error.message}")
        return int(more[-1])

    async def _leader(self, partition: Partition) -> int:
        """Asks for it, without having the topic created."""
        metadata = await self._sent(self._any(), MetadataRequest([partition.topic], allow_auto_topic_creation=False))
        self._client.cluster.update_metadata(metadata)
        leader = self._client.cluster.leader_for_partition(partition)
        if leader is None or leader < 0:
            raise Transient(f"kafka: {partition.topic} {partition.partition} has no leader")
        return int(leader)

    def _any(self) -> int:
        node = self._client.get_random_node()
        if node is None:
            raise Transient("kafka: no broker is known")
        return int(node)

    async def _sent(self, node: int, request: Any) -> Any:  # noqa: ANN401 - aiokafka has no types
        return await self._answer(self._client.send(node, request))

    async def _answer(self, question: Awaitable[Any]) -> Any:  # noqa: ANN401 - aiokafka has no types
        try:
            async with asyncio.timeout(self._timeout):
                return await question
        except (errors.KafkaError, OSError, TimeoutError) as error:
            raise Transient(str(translation(error))) from error


def _of_one(answer: Any) -> Sequence[Any]:  # noqa: ANN401 - aiokafka has no types
    """What an answer says of the one partition that it was asked about."""
    for _, partitions in answer.topics or ():
        for _, *said in partitions:
            return list(said)
    raise Transient("kafka: an answer says nothing of the partition")


def _parted(data: bytes, offset: int, aborted: Iterable[tuple[int, int]], end: int) -> Parted:
    found = parted(data, offset, aborted, end=end)
    if not found.records and found.reached == offset and found.broken is None:
        return Parted(records=(), reached=offset, broken="the broker has only what comes before it")
    return found


def _nothing(offset: int, broken: str | None, end: int) -> Look:
    return Look(parted=Parted(records=(), reached=offset, broken=broken), end=end)


@contextlib.asynccontextmanager
async def asking(connection: KafkaConnection, *, timeout: float) -> AsyncIterator[Brokers]:
    """The brokers, for the duration of the `async with` block.

    Raises:
        Transient: none can be reached.
    """
    client = make_client(connection)
    try:
        try:
            async with asyncio.timeout(timeout):
                await client.bootstrap()
        except (errors.KafkaError, OSError, TimeoutError) as error:
            raise Transient(str(translation(error))) from error
        yield Brokers(client, timeout=timeout)
    finally:
        with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(timeout):
                await client.close()
