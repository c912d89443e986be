"""What the log says of records that are set aside: where they lie and what is wrong, not what they contain."""

from typing import Any

import pytest

from consumer.adapters.kafka.decoding import codec
from consumer.adapters.telemetry.kafka_log import DEAD_LETTERS_A_MINUTE, KafkaLog
from consumer.domain.forms import interpret
from consumer.domain.kafka_facts import RecordDeadLettered
from consumer.domain.lag import Partition
from consumer.domain.records import Flaw, Flawed


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **values: Any) -> None:
        """One line."""
        self.lines.append({"event": event} | values)


def dead_lettered(flawed: Flawed) -> RecordDeadLettered:
    """The fact about record 7 of partition 3."""
    return RecordDeadLettered(partition=Partition("events", 3), offset=7, flawed=flawed, trace=None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"channel":"x"}', "event_id is missing"),
        (
            b'{"channel":"x","event_id":"1","Ana Souza":1}',
            "unknown field …; what is not a column",
        ),
        (b'{"channel":"x","event_id":"1","O\'Neill":1,"a \\"b\\"":2}', "unknown field …; what is not a column"),
        (b'{"channel":"x","event_id":"1","author_nam":"Ana"}', "unknown field … (is author_name meant?)"),
    ],
)
def test_the_reason_is_told_without_what_it_quotes(value: bytes, reason: str) -> None:
    """An unknown field may be named after a person, so its name is not logged; the dead letter has all of it."""
    log = Log()
    flawed, _ = interpret(value, (), codec(), largest=1000)
    assert isinstance(flawed, Flawed)
    KafkaLog(log)(dead_lettered(flawed))
    (line,) = log.lines
    assert line["reason"].startswith(reason), line
    assert (line["error"], line["topic"], line["partition"], line["offset"]) == ("not_an_event", "events", 3, 7)
    for content in ("Ana", "Neill", '"b'):
        assert content not in str(line)


def test_what_the_database_says_is_told_by_its_code() -> None:
    """Its message quotes the row."""
    log = Log()
    KafkaLog(log)(dead_lettered(Flawed(flaw=Flaw.REFUSED, reason="Failing row contains (Ana)", code="23514")))
    (line,) = log.lines
    assert line["code"] == "23514"
    assert "Ana" not in str(line)


def test_a_topic_full_of_garbage_does_not_fill_the_disk() -> None:
    """A limited number of lines per minute, and then how many were left out."""
    now = 1000.0
    log = Log()
    tell = KafkaLog(log, now=lambda: now)
    bad = dead_lettered(Flawed(flaw=Flaw.NOT_JSON, reason="not JSON"))
    for _ in range(DEAD_LETTERS_A_MINUTE + 5):
        tell(bad)
    assert len(log.lines) == DEAD_LETTERS_A_MINUTE
    now += 61
    tell(bad)
    assert log.lines[-2] == {"event": "more records were set aside", "records": 5}
    assert log.lines[-1]["error"] == "not_json"
