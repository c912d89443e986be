"""The overview as it is rendered: with nothing yet, and with text of strangers in all that it shows."""

from dataclasses import replace

from consumer.adapters.web.ops.overview import figures, shown
from consumer.adapters.web.ops.site import Site
from consumer.domain.intake_facts import IntakeSampled
from consumer.domain.lag import Partition, PartitionLag
from consumer.domain.overview import (
    BacklogByChannel,
    ChannelBacklog,
    Overview,
    ProviderDeliveries,
    Replica,
    Second,
    Trouble,
)
from consumer.domain.routing import Backlog

HOSTILE = "'\"><script>alert(1)</script>\u202e\x1b"
EMPTY = Overview(
    at=1_700_000_000.0,
    replica="host:1",
    version="1.0",
    source="postgres",
    database="inbox",
    host="db:5432",
    started_at=1_700_000_000.0,
    is_ready=False,
    stalled=[],
    faults=[],
    backlog=None,
    backlog_at=None,
    by_channel=None,
    by_channel_at=None,
    listener="polling",
    doorbell="",
    lags=[],
    deliveries=[],
    intake=None,
    troubles=[],
)

STRANGE = replace(
    EMPTY,
    database=HOSTILE,
    host=HOSTILE,
    replica=HOSTILE,
    source="kafka",
    stalled=[HOSTILE],
    faults=[HOSTILE],
    backlog=Backlog(ready=1, oldest_seconds=1, parked=1, dead=1, notification_queue=0.5),
    backlog_at=1_700_000_000.0,
    by_channel=BacklogByChannel(
        channels=[ChannelBacklog(channel=HOSTILE, ready=1, oldest_seconds=1)],
        is_partial=True,
        replicas=[Replica(name=HOSTILE, version=HOSTILE, seconds=None)],
    ),
    lags=[PartitionLag(partition=Partition(HOSTILE, 0), records=1, seconds=1.0)],
    deliveries=[ProviderDeliveries(provider=HOSTILE, outcomes={"taken": 1}, unknown=1)],
    troubles=[
        Trouble(
            at=1.0,
            first_at=1.0,
            count=2,
            level="warning",
            event=HOSTILE,
            details={HOSTILE: HOSTILE},
            runbook="https://example.org/#runbook",
        )
    ],
)
"""With text of strangers wherever it can be."""


def rendered(now: Overview) -> str:
    """The page."""
    site = Site(title=f"{now.database} on {now.host}", actions=True)
    return str(site.render("overview.html", **shown(now, [])).text)


def test_nothing_yet() -> None:
    """A service that has just begun says so of each thing."""
    text = rendered(EMPTY)
    for words in (
        "not ready",
        "is starting: its loops have not all gone round once",
        "not counted yet",
        "not looked at yet",
        "in a moment",
    ):
        assert words in text


def test_text_of_strangers() -> None:
    """None of it ends an attribute or begins an element, and what is not to be seen is an escape."""
    text = rendered(STRANGE)
    assert text.count("<script>") == 0
    assert "&gt;&lt;script&gt;" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_figures() -> None:
    """Of the last ten seconds: a mean, the middle of the middles, the worst of the worst; a dash for none."""
    quiet = [Second(at=at) for at in range(20)]
    assert figures([]) == {"rate": "–", "p50": "–", "p99": "–"}
    assert figures(quiet) == {"rate": "0", "p50": "–", "p99": "–"}
    busy = [replace(second, routed={"hot": 900, "sweep": 100}, p50=0.004, p99=0.04) for second in quiet[:19]]
    slow = replace(quiet[19], routed={"hot": 15_000}, p50=2.0, p99=75.0)
    assert figures([*busy, slow]) == {"rate": "2,400", "p50": "4.0 ms", "p99": "1 min 15 s"}
    assert figures([replace(quiet[0], routed={"hot": 3}, p50=0.25, p99=1.26)]) == {
        "rate": "3.0",
        "p50": "250 ms",
        "p99": "1.3 s",
    }


def test_behind_and_numbers_of_one() -> None:
    """A service that works and has old events says that it is behind; one of a thing is not several."""
    waits = Backlog(ready=9, oldest_seconds=61, parked=0, dead=1, notification_queue=0)
    one = replace(
        STRANGE,
        is_ready=True,
        stalled=[],
        faults=[],
        backlog=waits,
        intake=IntakeSampled(deferred=1, deferred_seconds=5, waiting={"status": 1}, waiting_seconds=0),
    )
    text = " ".join(rendered(one).split())
    assert "it is behind: the oldest waits for 1 min 1 s" in text
    assert "1 record behind in 1 partition of" in text
    assert "not in effect: 1 delivery, the oldest for 5 s; 1 effect without what it changes." in text
    assert "routed as they come" in rendered(replace(one, backlog=replace(waits, oldest_seconds=60)))
    later = replace(one, at=one.at + 300)
    assert "oldest 1 min 1 s, counted 5 min 0 s ago" in rendered(later)
    assert "nothing waited 5 min 0 s ago" in rendered(replace(later, backlog=replace(waits, ready=0)))
