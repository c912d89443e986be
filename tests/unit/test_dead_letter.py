"""What a dead letter looks like in its topic."""

import pytest

from consumer.adapters.kafka.writer import Message, as_message
from consumer.domain.lag import Partition
from consumer.domain.records import DeadLetter, Flaw, Flawed, Record


@pytest.mark.parametrize("value", [b"bytes", b"", None])
def test_it_has_the_bytes_of_its_record(value: bytes | None) -> None:
    """Or none, where a record without a value cannot be read; headers of an earlier dead letter are replaced."""
    flawed = Flawed(flaw=Flaw.UNREADABLE, reason="the name of a header is not UTF-8")
    record = Record(
        partition=Partition("events", 3),
        offset=7,
        timestamp=1.5,
        key=b"k",
        value=value,
        headers=(("webhook-router-error", b"not_json"), (r"\xff", b"1")),
        meaning=flawed,
        trace=None,
    )
    assert as_message(DeadLetter(record=record, flawed=flawed)) == Message(
        key=b"k",
        value=value,
        headers=[
            (r"\xff", b"1"),
            ("webhook-router-error", b"unreadable"),
            ("webhook-router-error-message", b"the name of a header is not UTF-8"),
            ("webhook-router-topic", b"events"),
            ("webhook-router-partition", b"3"),
            ("webhook-router-offset", b"7"),
            ("webhook-router-timestamp", b"1500"),
        ],
    )
