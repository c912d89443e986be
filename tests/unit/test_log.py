"""What the log says of faults: one line each, however many loops are affected."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.adapters.telemetry.log import Log
from consumer.domain.facts import Fact, ListenerUp, LoopFailed, LoopRecovered, PageFailed, TokensRefused

REFUSED, STARTING = "connection refused", "the database system is starting up"


def failed(loop: str, attempt: int = 1, reason: str = REFUSED) -> LoopFailed:
    """A failure."""
    return LoopFailed(loop=loop, reason=reason, attempt=attempt, delay=0.1)


def recovered(loop: str) -> LoopRecovered:
    """The end of it."""
    return LoopRecovered(loop=loop, attempts=9)


def told(*facts: Fact) -> list[tuple[str, Any]]:
    """The lines written about them: (event, loop)."""
    log = Log(summary_every=3600)
    with capture_logs() as lines:
        for fact in facts:
            log(fact)
    return [(line["event"], line.get("loop")) for line in lines]


def test_one_outage_of_several_loops() -> None:
    """The first loop speaks for all, and the first that works says that it is over."""
    everybody = ("hot", "sweep", "listener", "sampler")
    outage = [failed(loop, attempt) for attempt in range(1, 5) for loop in everybody]
    assert told(*outage, recovered("sweep"), recovered("hot"), ListenerUp(), recovered("sampler")) == [
        *[("cannot go on, will try again", "hot")] * 3,  # attempts 1, 2 and 4
        ("works again", "sweep"),
        ("listening for notifications", None),
    ]


def test_two_faults_are_two_lines() -> None:
    """Loops that fail for reasons of their own speak for themselves."""
    facts = (failed("hot"), failed("sweep", reason=STARTING), recovered("hot"), recovered("sweep"))
    assert told(*facts) == [
        ("cannot go on, will try again", "hot"),
        ("cannot go on, will try again", "sweep"),
        ("works again", "hot"),
        ("works again", "sweep"),
    ]


@pytest.mark.parametrize("gone", [ListenerUp(), failed("listener", 2, STARTING)])
def test_a_speaker_that_fails_no_longer(gone: Fact) -> None:
    """Another loop that still fails speaks from then on, so that no fault goes unreported."""
    lines = told(failed("listener"), failed("hot"), gone, failed("hot", 2), recovered("hot"))
    assert lines[0] == ("cannot go on, will try again", "listener")
    assert lines[2:] == [("cannot go on, will try again", "hot"), ("works again", "hot")]


def test_the_next_outage_is_told_again() -> None:
    """Whichever loop notices it first, and although the reason is the same."""
    assert told(failed("hot"), recovered("hot"), failed("sweep"), failed("hot"), recovered("hot")) == [
        ("cannot go on, will try again", "hot"),
        ("works again", "hot"),
        ("cannot go on, will try again", "sweep"),
        ("works again", "hot"),
    ]


def test_what_happens_on_pages_is_told() -> None:
    """A line each, which has a section in docs/operating.md."""
    assert told(PageFailed(page="/parked", reason="KeyError"), TokensRefused(count=3)) == [
        ("a page has failed", None),
        ("wrong tokens were given for the pages", None),
    ]
