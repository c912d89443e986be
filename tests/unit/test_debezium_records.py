"""Records as the real Debezium connector has written them: what each of them means.

`python -m tests.kafka.debezium.changes` has written the file, where it says what has happened in the table.
"""

import json
from collections import Counter
from typing import Any

import pytest

from consumer.adapters.kafka.decoding import codec
from consumer.domain.forms import interpret
from consumer.domain.records import Meaning, Skip
from consumer.domain.webhook import Intake
from tests.kafka.debezium.changes import FORMS, LAST, OLD, OWN_PLACEHOLDER, RECORDS, ROWS

UNTOLD = ("cloud events without attributes", "flattened by default")
"""Forms that do not say whether a row was inserted or updated."""
TABLE = [form for form in FORMS if not form.startswith("outbox")]
BIG = "184467440737095516161234"


def meanings(form: str) -> list[Meaning]:
    """Of all records of a form."""
    lines = map(json.loads, RECORDS.read_bytes().splitlines())
    values = [line["value"] for line in lines if line["form"] == form]
    more = {"unavailable": OWN_PLACEHOLDER} if form == "own placeholder" else {}
    texts = [None if value is None else value.encode() for value in values]
    return [interpret(text, (), codec(), largest=100_000, **more)[0] for text in texts]


@pytest.mark.parametrize("form", TABLE)
def test_changes_of_the_table(form: str) -> None:
    """Each row is known by its name, and has a line if it is whole and the schema has it; nothing is set aside."""
    found = meanings(form)
    intakes = Counter(
        (each.event_id, each.line is not None, each.otherwise is not None)
        for each in found
        if isinstance(each, Intake) and each.keep
    )
    expected = Counter((row.event_id, row.fits, not row.fits) for row in ROWS)
    expected += Counter([(OLD, False, False), ("toast", False, False), (LAST, True, False)])
    if form in UNTOLD:
        expected += Counter([("full", True, False)])  # our own mark, which is not seen as such
    if "schemas" in form:  # of which not all are in the file
        expected = Counter({key: count for key, count in expected.items() if key in intakes})
    assert intakes == expected
    assert intakes.total() + sum(isinstance(each, Skip) for each in found) == len(found)


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_as_they_were_written(form: str) -> None:
    """Also those that a parser would round."""
    name = "outbox" if form.startswith("outbox") else "full"
    lines = [each.line for each in meanings(form) if isinstance(each, Intake) and each.event_id == name]
    assert lines
    for line in lines:
        assert line is not None
        assert "1.10" in line
        assert BIG in line


MICROSECONDS = 1769851800123456
DATE = "2026-01-31T09:30:00.123"


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (MICROSECONDS // 1000, DATE),  # time.precision.mode=connect
        (MICROSECONDS, DATE),  # adaptive, microseconds
        (MICROSECONDS * 1000, DATE),  # nanoseconds
        ("2026-01-31T09:30:00.123456Z", DATE),  # isostring
        (9223372036825200, None),  # infinity, and below in the other modes
        (9223372036825200000, None),
        (9223372036854775807, None),
        ("+294247-01-10T04:00:25.2Z", None),
        (-9223372036832400000, None),
        (568971820800000000, None),  # year 20000
        (-63517824000000000, None),  # BC
        (42267905000000, None),  # 1971
    ],
)
def test_timestamps_without_time_zone(value: Any, date: str | None) -> None:
    """As the connector writes them in each mode. A unit that can only be guessed wrongly is not guessed."""
    row = {"channel": "instagram", "event_id": "m_1", "event_date": value, "raw_payload": "{}"}
    found = interpret(json.dumps({"op": "c", "before": None, "after": row}).encode(), (), codec(), largest=1000)[0]
    assert isinstance(found, Intake)
    if date is None:
        assert (found.line, "event_date" in (found.otherwise or "")) == (None, True)
    else:
        assert date in (found.line or "")
