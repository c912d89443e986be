"""Any order, any repetition, any split into bodies and calls, and two sessions at once end in the same rows."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from consumer.domain.providers.atoms import Context
from tests.intake import feeding
from tests.intake.histories import BOT, WORLDS, Post, histories
from tests.intake.rows import Inbox

_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
PROFILES = {
    "ci": settings(max_examples=60, derandomize=True, database=None, **_COMMON),
    "long": settings(max_examples=2000, print_blob=True, **_COMMON),
}
PROFILE = PROFILES.get(os.environ.get("HYPOTHESIS_PROFILE", "ci"), PROFILES["ci"])
CONTEXT = Context(bot=BOT)
RETRIES = 5


@pytest.fixture(scope="module")
def sessions(intake_database: str) -> Iterator[list[psycopg.Connection[Any]]]:
    """Three sessions: one that feeds alone and looks, and two that feed side by side."""
    made = [psycopg.connect(intake_database, autocommit=True) for _ in range(3)]
    for session in made:
        session.execute("set deadlock_timeout = '20ms'")
    yield made
    for session in made:
        session.close()


def take(session: psycopg.Connection[Any], posts: list[Post]) -> None:
    """One call; what the database asks to repeat is repeated, as the service does."""
    deliveries = [feeding.read(post.provider, post.body, CONTEXT) for post in posts]
    for attempt in range(RETRIES):
        try:
            feeding.take(session, deliveries)
        except psycopg.errors.DeadlockDetected:
            if attempt == RETRIES - 1:
                raise
        else:
            return


@st.composite
def schedules(draw: st.DrawFn, posts: list[Post]) -> list[tuple[int, list[Post]]]:
    """The posts, shuffled and some repeated, cut into calls of one of two sessions."""
    repeated = draw(st.lists(st.sampled_from(posts), max_size=3))
    order = draw(st.permutations([*posts, *repeated]))
    calls = []
    while order:
        size = draw(st.integers(1, len(order)))
        calls.append((draw(st.integers(0, 1)), list(order[:size])))
        order = order[size:]
    return calls


@pytest.mark.parametrize("provider", sorted(WORLDS))
def test_every_order_ends_in_the_same_rows(provider: str, sessions: list[psycopg.Connection[Any]]) -> None:
    """The rows after a schedule are those after the bodies came one by one."""

    @PROFILE
    @given(st.data())
    def converges(data: st.DataObject) -> None:
        posts = data.draw(histories(provider))
        if not posts:
            return
        alone, *pair = sessions
        alone.execute(feeding.CLEAR)
        for post in posts:
            take(alone, [post])
        feeding.settle(alone)
        wanted = Inbox(alone).same()

        calls = data.draw(schedules(posts))
        for post in posts:
            note(post.body.decode())
        alone.execute(feeding.CLEAR)
        with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
            threads = (first, second)
            running = [threads[who].submit(take, pair[who], part) for who, part in calls]
            for future in running:
                future.result()
        feeding.settle(alone)
        found = Inbox(alone).same()

        assert found == wanted

    converges()
