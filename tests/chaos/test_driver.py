"""The driver: the same seed gives the same run, and a run that fails says how to repeat it."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from consumer.domain.providers import normaliser_of
from consumer.domain.providers.atoms import Context
from tests.chaos.bodies import follows, is_postable, posts_of
from tests.chaos.driver import Options, course, drive
from tests.chaos.events import made
from tests.chaos.faults import FAULTS
from tests.chaos.report import Report, block_of
from tests.chaos.traffic import Plan

DOCS = Path(__file__).parents[2] / "docs"


def test_the_same_seed_gives_the_same_traffic_and_faults() -> None:
    """Events, batches, ways, faults, durations; another seed gives others."""

    def run(seed: int) -> list[object]:
        return [
            list(itertools.islice(made(seed, prefix="p"), 500)),
            list(itertools.islice(Plan(seed, name="p", topic=0.3).batches(), 200)),
            [
                (step.first.name, step.second and step.second.name, step.seconds, step.pause)
                for step in itertools.islice(course(seed, list(FAULTS.values())), 100)
            ],
        ]

    assert run(1) == run(1)
    assert all(one != other for one, other in zip(run(1), run(2), strict=True))


def test_every_fault_comes_in_every_round() -> None:
    """None is left to chance."""
    faults = list(FAULTS.values())
    steps = list(itertools.islice(course(7, faults), len(faults)))
    assert {step.first.name for step in steps} == set(FAULTS)
    assert len(FAULTS) > 40


def test_every_fault_has_a_test_of_its_own() -> None:
    """The random mix finds the unforeseen; the specific effects of a fault are checked in its own test."""
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in FAULTS if f'"{name}"' not in tests] == []


def test_faults_come_together_only_where_both_can_begin_and_end() -> None:
    """No fault queries a stopped server, and faults that must be alone are."""
    pairs = [step for step in itertools.islice(course(3, list(FAULTS.values())), 2_000) if step.second is not None]
    assert len(pairs) > 100
    for step in pairs:
        assert step.second is not None
        assert not step.first.alone
        assert not step.second.alone
        assert not (step.first.stops_server and step.second.asks_server)


def test_an_event_is_delivered_up_to_five_times_and_out_of_order() -> None:
    """As providers do."""
    events = [event for _, _, batch in itertools.islice(Plan(1, name="p").batches(), 500) for event in batch]
    assert max(Counter(events).values()) == 5
    times = [event.sent_at for event in events]
    assert times != sorted(times)


def test_bodies_say_what_was_to_be_told() -> None:
    """Each event, reaction and status comes once, in a body of its provider, and is read as what the ledger knows."""
    events = [event for event in itertools.islice(made(4, prefix="p"), 2_000) if is_postable(event)]
    items = [item for event in events for item in (event, *follows(event))]
    assert items == [item for event in events for item in (event, *follows(event))]
    posts = posts_of(items, random.Random(4))
    assert Counter(item for post in posts for item in post.items) == Counter(items)
    assert max(len(post.items) for post in posts) == 5
    for post in posts:
        atoms = normaliser_of(post.provider)(json.loads(post.body), Context())
        assert sorted((m.id, m.outbound, m.text, m.people[0].id) for m in atoms.messages) == sorted(
            (e.event_id, e.direction == "outbound", e.content, e.author_id) for e in post.events
        )
        assert sorted(e.target or "" for e in atoms.effects) == sorted(effect.target for effect in post.effects)
        assert not atoms.recorded


def test_a_short_run_with_faults_at_random() -> None:
    """Several replicas, two producers, the faults of a seed: the ledger finds nothing wrong."""
    report = drive(Options(seed=20, minutes=0.3, rate=600, kafka=False))
    assert report.passed, (report.violations, report.examples, report.remarks, report.command)
    assert report.exits == []
    assert report.verdict["acknowledged"] > 3_000
    assert report.verdict["posts"] > 500
    assert report.verdict["reactions"] > 0
    assert report.verdict["statuses"] > 0


def test_a_run_says_how_to_repeat_it() -> None:
    """The command in the report gives the same options again."""
    options = Options(seed=3, minutes=2, events=10, posts=20, rate=99, posted=9, only=("network-cut",), kafka=False)
    assert options.command == (
        "python -m tests.chaos --seed 3 --minutes 2 --events 10 --posts 20 --rate 99 --posted 9 --fault network-cut"
        " --no-kafka"
    )


@pytest.mark.skipif(not (DOCS / "reliability.json").exists(), reason="no full run has been reported")
def test_the_document_shows_the_reported_run() -> None:
    """docs/reliability.md holds what docs/reliability.json says, and that run was a good one."""
    report = Report.read(DOCS / "reliability.json")
    assert block_of(DOCS / "reliability.md") == report.markdown()
    assert report.passed
    assert report.verdict["acknowledged"] >= 1_000_000
