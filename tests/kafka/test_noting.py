"""What the database notes of a group's positions, and what it says when it has gone back."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import psycopg
import pytest
import pytest_asyncio

from consumer.adapters.postgres.record_store import PostgresRecordStore
from consumer.domain.errors import Rejected, Renewed
from consumer.domain.lag import Partition
from consumer.domain.positions import Noted, Noting
from consumer.domain.webhook import Intake

A, B, C = Partition("events", 0), Partition("events", 10), Partition("others", 2)


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[PostgresRecordStore]:
    """The store under test, of the group g."""
    made = PostgresRecordStore(database, group="g", call_timeout=30)
    yield made
    await made.close()


def noting(positions: Mapping[Partition, tuple[int | None, int | None]]) -> Noting:
    """By partition: what is known, and what is to be noted."""
    return Noting(known={p: k for p, (k, _) in positions.items()}, offsets={p: o for p, (_, o) in positions.items()})


async def offsets(store: PostgresRecordStore) -> dict[Partition, int]:
    """What is noted."""
    return {partition: noted.offset for partition, noted in (await store.noted([A, B, C])).items()}


async def test_positions_move_on_and_never_back(store: PostgresRecordStore) -> None:
    """Except for a member that means it and knows what is noted; what it merely looks at stays."""
    assert await offsets(store) == {}
    assert await store.note(noting({C: (None, 7), A: (None, 5), B: (None, None)})) == {}
    assert await offsets(store) == {A: 5, C: 7}
    assert await store.note(noting({A: (5, 9), C: (None, 3)})) == {}  # the second by a member that knows nothing
    assert await offsets(store) == {A: 9, C: 7}
    assert await store.note(noting({A: (5, 8), C: (7, None)})) == {}  # by a member that has lost the partition
    assert await offsets(store) == {A: 9, C: 7}
    assert await store.note(noting({A: (9, 0), C: (6, 2)})) == {}  # set back: by one that knows, and one that does not
    assert await offsets(store) == {A: 0, C: 7}


async def test_what_was_done_in_another_session_is_not_noted(store: PostgresRecordStore, database: str) -> None:
    """Without a failure in between: the server ended the session while it was idle, as in a failover."""
    await store.note(noting({A: (None, 5)}))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    await store.noted([A])  # in a new session
    unsure = replace(noting({A: (5, 9)}), unsure=True)
    with pytest.raises(Renewed):
        await store.note(unsure)
    with pytest.raises(Renewed):
        await store.ingest_and_route([], unsure)
    assert await offsets(store) == {A: 5}
    await store.note(noting({A: (5, 6)}))
    await store.note(replace(noting({A: (6, 9)}), unsure=True))
    assert await offsets(store) == {A: 9}


async def test_a_database_that_has_gone_back_says_so(store: PostgresRecordStore, database: str) -> None:
    """It notes nothing there, with records or without, until the member says where it goes on; the others are noted."""
    await store.note(noting({A: (None, 5), B: (None, 5)}))
    assert await store.note(noting({A: (8, 9), B: (5, 6), C: (3, None)})) == {A: 5, C: None}
    intake = Intake(channel="instagram", event_id="1", line='{"channel": "instagram", "event_id": "1"}')
    for call in (store.ingest_and_route, store.ingest_and_park):
        done = await call([intake], noting({A: (8, 9), B: (6, 7), C: (3, 4)}))
        assert done.behind == {A: 5, C: None}
    assert await offsets(store) == {A: 5, B: 7}
    with psycopg.connect(database) as connection:
        connection.execute("select router.skip_record('g', 'events', 0, 7)")
        given_up = "select next_offset, given_up from router.skip_record('g', 'events', %s, 4)"
        assert connection.execute(given_up, (0,)).fetchone() == (5, False)
        assert connection.execute(given_up, (3,)).fetchone() == (None, False)
    assert await store.noted([A]) == {A: Noted(offset=5, skipped=7)}


async def test_what_is_rolled_back_is_not_noted(store: PostgresRecordStore) -> None:
    """A call that fails leaves the position where its records are; groups do not see each other's."""
    unsendable = Intake(channel="instagram", event_id="\x00", line="{}")
    with pytest.raises(Rejected):
        await store.ingest_and_route([unsendable], noting({A: (None, 5)}))
    assert await offsets(store) == {}


async def test_members_that_share_partitions_do_not_deadlock(database: str, store: PostgresRecordStore) -> None:
    """Two may hold the same ones for a while, and list them in different orders; the furthest position stays."""
    stores = [PostgresRecordStore(database, group="g", call_timeout=30) for _ in range(4)]
    places = [Partition("events", number) for number in range(30)]

    async def move(number: int, made: PostgresRecordStore) -> None:
        for offset in range(1, 41):
            await made.note(noting(dict.fromkeys(places if number % 2 else places[::-1], (None, offset))))

    try:
        await asyncio.gather(*(move(number, made) for number, made in enumerate(stores)))
    finally:
        for made in stores:
            await made.close()
    assert {noted.offset for noted in (await store.noted(places)).values()} == {40}
