"""What the log says of faults: one line each, however many loops meet it."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.adapters.telemetry.log import Log
from consumer.domain.facts import Fact, ListenerUp, Loop, LoopFailed, LoopRecovered

REFUSED, STARTING = "connection refused", "the database system is starting up"


def failed(loop: Loop, attempt: int = 1, reason: str = REFUSED) -> LoopFailed:
    """A failure."""
    return LoopFailed(loop=loop, reason=reason, attempt=attempt, delay=0.1)


def recovered(loop: Loop) -> LoopRecovered:
    """The end of it."""
    return LoopRecovered(loop=loop, attempts=9)


def told(*facts: Fact) -> list[tuple[str, Any]]:
    """What is said of them: (words, loop)."""
    log = Log(summary_every=3600)
    with capture_logs() as lines:
        for fact in facts:
            log(fact)
    return [(line["event"], line.get("loop")) for line in lines]


def test_one_outage_of_several_loops() -> None:
    """The first loop speaks for all, and the first that works says that it is over."""
    everybody = (Loop.HOT, Loop.SWEEP, Loop.LISTENER, Loop.SAMPLER)
    outage = [failed(loop, attempt) for attempt in range(1, 5) for loop in everybody]
    assert told(*outage, recovered(Loop.SWEEP), recovered(Loop.HOT), ListenerUp(), recovered(Loop.SAMPLER)) == [
        *[("cannot go on, will try again", Loop.HOT)] * 3,  # attempts 1, 2 and 4
        ("works again", Loop.SWEEP),
        ("listening for notifications", None),
    ]


def test_two_faults_are_two_lines() -> None:
    """Loops that fail for reasons of their own speak for themselves."""
    facts = (failed(Loop.HOT), failed(Loop.SWEEP, reason=STARTING), recovered(Loop.HOT), recovered(Loop.SWEEP))
    assert told(*facts) == [
        ("cannot go on, will try again", Loop.HOT),
        ("cannot go on, will try again", Loop.SWEEP),
        ("works again", Loop.HOT),
        ("works again", Loop.SWEEP),
    ]


@pytest.mark.parametrize("gone", [ListenerUp(), failed(Loop.LISTENER, 2, STARTING)])
def test_a_speaker_that_fails_no_longer(gone: Fact) -> None:
    """Another one of those that still fail goes on, so that no fault falls silent."""
    lines = told(failed(Loop.LISTENER), failed(Loop.HOT), gone, failed(Loop.HOT, 2), recovered(Loop.HOT))
    assert lines[0] == ("cannot go on, will try again", Loop.LISTENER)
    assert lines[2:] == [("cannot go on, will try again", Loop.HOT), ("works again", Loop.HOT)]


def test_the_next_outage_is_told_again() -> None:
    """Whoever notices it first, and although it is for the same reason."""
    assert told(failed(Loop.HOT), recovered(Loop.HOT), failed(Loop.SWEEP), failed(Loop.HOT), recovered(Loop.HOT)) == [
        ("cannot go on, will try again", Loop.HOT),
        ("works again", Loop.HOT),
        ("cannot go on, will try again", Loop.SWEEP),
        ("works again", Loop.HOT),
    ]
