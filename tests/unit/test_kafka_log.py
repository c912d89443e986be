"""What the log says of records and partitions: where they lie and what is wrong, not what records contain."""

from functools import partialmethod
from typing import Any

import pytest

from consumer.adapters.kafka.decoding import codec
from consumer.adapters.telemetry.kafka_log import DEAD_LETTERS_A_MINUTE, PARTITIONS_AT_ONCE, KafkaLog
from consumer.domain.forms import interpret
from consumer.domain.kafka_facts import (
    DatabaseWentBack,
    GroupJoined,
    LagSampled,
    PartitionBegun,
    PartitionFreed,
    PartitionStuck,
    RecordDeadLettered,
    RecordsWithheld,
)
from consumer.domain.lag import Partition
from consumer.domain.records import Flaw, Flawed


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _line(self, level: str, event: str, **values: Any) -> None:
        self.lines.append({"level": level, "event": event} | values)

    info = partialmethod(_line, "info")
    warning = partialmethod(_line, "warning")
    error = partialmethod(_line, "error")


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
    assert log.lines[-2] == {"level": "warning", "event": "more records were set aside", "records": 5}
    assert log.lines[-1]["error"] == "not_json"


def test_the_group_that_is_read_as_is_named() -> None:
    """Cluster, group and topics; a cluster without an id is not."""
    log = Log()
    KafkaLog(log)(GroupJoined(cluster="kraft-1", group="router", topics=("events", "more")))
    KafkaLog(log)(GroupJoined(cluster="", group="router", topics=("events",)))
    named, nameless = log.lines
    assert (named["cluster"], named["group"], named["topics"]) == ("kraft-1", "router", "events, more")
    assert "cluster" not in nameless


def test_where_a_group_begins_is_a_line_a_topic() -> None:
    """However many partitions it has: with the same offset they stand together, and the line does not grow."""
    log = Log()
    tell = KafkaLog(log)
    for number in reversed(range(100)):
        tell(PartitionBegun(partition=Partition("events", number), offset=0))
        tell(PartitionBegun(partition=Partition("other", number), offset=number * 2))
    assert log.lines == []
    tell(LagSampled(lags=()))
    events, other = log.lines
    assert (events["topic"], events["offsets"]) == ("events", "0-99: 0")
    assert (other["topic"], other["offsets"]) == (
        "other",
        "0: 0, 1: 2, 2: 4, 3: 6, 4: 8, 5: 10, 6: 12, 7: 14, 8: 16, 9: 18 and 90 more",
    )
    tell(LagSampled(lags=()))
    assert len(log.lines) == 2


def test_a_database_that_went_back_is_told_by_partition_as_long_as_they_are_few() -> None:
    """With where reading goes on and how much is read again; of hundreds, the rest is a number."""
    log = Log()
    tell = KafkaLog(log)
    for number in range(PARTITIONS_AT_ONCE + 90):
        tell(DatabaseWentBack(partition=Partition("events", number), offset=17, records=5))
        tell(PartitionBegun(partition=Partition("other", number), offset=0))
    tell(LagSampled(lags=()))
    first, *_, rest, _ = log.lines
    assert len(log.lines) == PARTITIONS_AT_ONCE + 2
    assert first == {
        "level": "warning",
        "event": "the database has gone back, records that it lacks are read again",
        "topic": "events",
        "partition": 0,
        "offset": 17,
        "records": 5,
    }
    assert (rest["level"], rest["partitions"], rest["line"]) == ("warning", 90, first["event"])


def test_a_stuck_partition_is_an_error_that_says_what_to_type() -> None:
    """The line holds the command as it is typed in a shell, and another one says that it is over, and how."""
    log = Log()
    tell = KafkaLog(log)
    place = Partition("events", 3)
    tell(PartitionStuck(partition=place, offset=7, reason="a batch of format 9"))
    tell(PartitionFreed(partition=place, offset=7, skipped=False))
    tell(PartitionFreed(partition=place, offset=8, skipped=True))
    stuck, mended, given_up = log.lines
    assert (stuck["level"], stuck["topic"], stuck["partition"], stuck["offset"]) == ("error", "events", 3, 7)
    assert stuck["reason"] == "a batch of format 9"
    assert stuck["advice"].endswith(": webhook-router kafka skip events 3 7")
    assert (mended["level"], given_up["level"], given_up["at"]) == ("info", "warning", 8)


def test_records_behind_an_open_transaction_are_told_and_told_to_be_over() -> None:
    """Nothing else says why they are not read."""
    log = Log()
    tell = KafkaLog(log)
    place = Partition("events", 3)
    tell(RecordsWithheld(partition=place, records=12, seconds=60.4))
    tell(RecordsWithheld(partition=place, records=0, seconds=75.0))
    waiting, over = log.lines
    assert (waiting["level"], waiting["partition"], waiting["records"], waiting["seconds"]) == ("warning", 3, 12, 60)
    assert (over["level"], over["partition"]) == ("info", 3)
