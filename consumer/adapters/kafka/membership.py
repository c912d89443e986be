"""Whether two processes are the same member of the group, by mistake."""

from collections import deque

from aiokafka import AIOKafkaConsumer

from consumer.adapters.kafka.options import SETTING, KafkaOptions
from consumer.domain.errors import Taken

TURNS = 4
"""After which the one that came last ends; the other one, which was at work, waits for twice as many."""


class Membership:
    """Watches for another process with the same `group.instance.id`.

    Brokers take the last one to join for the member; the other one learns that its id is unknown (aiokafka's heartbeats
    lack the name, so that brokers cannot call it fenced), and joins again: they take turns, one in each quarter of a
    session.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._name = options.group_instance_id
        self._session = options.session_timeout
        self._id = ""
        self._first = 0.0
        self._changed: deque[float] = deque(maxlen=2 * TURNS)

    def joined(self, consumer: AIOKafkaConsumer, *, now: float) -> None:
        """Notes under which id the consumer has joined. A session that ends by itself lasts longer than a turn."""
        member = consumer._coordinator.member_id  # noqa: SLF001 - aiokafka has no other way
        if member != self._id:
            self._first = self._first if self._id else now
            self._id = member
            self._changed.append(now)

    def left(self) -> None:
        """The consumer is abandoned: that the next one has another id is no other process's doing."""
        self._changed.clear()

    def check(self) -> None:
        """Raises Taken once it is clear: as long as both run, both read and commit the same partitions.

        A process that is started by mistake does not end the one that was there: it counts its turns from its first
        time in the group on.
        """
        changed = list(self._changed)
        if self._name is None or len(changed) < TURNS:
            return
        begun = changed[-TURNS] == self._first and changed[-1] - self._first <= self._session
        if begun or (len(changed) == 2 * TURNS and changed[-1] - changed[0] <= 3 * self._session):
            raise Taken(
                f"kafka: another process is the same member of the group: {SETTING}GROUP_INSTANCE_ID must be different "
                "for each replica"
            )
