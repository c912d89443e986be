"""What most tests here work with: a topic with a group of its own, and services that read it."""

from dataclasses import dataclass, field

from tests.kafka.topics import Topics, unique
from tests.processes import Router
from tests.waiting import await_for, wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A topic with a group of its own on the shared broker."""

    topics: Topics
    topic: str
    dead: str
    group: str = field(default_factory=lambda: unique("group"))

    @property
    def env(self) -> dict[str, str]:
        """The settings of a service that reads it."""
        return kafka_env(self.topics.bootstrap, self.topic, self.dead, self.group)

    async def committed(self) -> int:
        """How many records the group has committed, over all partitions."""
        return sum((await self.topics.committed(self.group, self.topic)).values())

    async def until_committed(self, count: int, timeout: float = 120) -> None:
        """Waits until the group has committed so many records."""
        async with self.topics.offsets(self.group, self.topic) as committed:

            async def enough() -> bool:
                return sum((await committed()).values()) >= count

            await await_for(enough, timeout=timeout, what=f"{count} committed records")


def kafka_env(bootstrap: str, topic: str, dead: str, group: str) -> dict[str, str]:
    """Settings of a service that reads a topic, with the short times of tests."""
    return {
        "WEBHOOK_ROUTER_SOURCE": "kafka",
        "WEBHOOK_ROUTER_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "WEBHOOK_ROUTER_KAFKA_TOPICS": topic,
        "WEBHOOK_ROUTER_KAFKA_GROUP_ID": group,
        "WEBHOOK_ROUTER_KAFKA_DEAD_LETTER_TOPIC": dead,
        "WEBHOOK_ROUTER_KAFKA_POLL_TIMEOUT": "0.1",
        "WEBHOOK_ROUTER_KAFKA_SESSION_TIMEOUT": "6",
        "WEBHOOK_ROUTER_SAMPLE_INTERVAL": "0.2",
    }


def assigned(router: Router) -> float:
    """How many partitions a replica has."""
    return router.metric("webhook_router_kafka_assigned_partitions")


def until_assigned(router: Router, count: int = 6, timeout: float = 120) -> None:
    """Waits until it has so many."""
    wait_for(lambda: assigned(router) == count, timeout=timeout, what=f"{count} partitions, {router.lines}")
