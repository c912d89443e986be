"""Erasing a person, and exporting what is kept of one, with the rights of the tables' owner."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from consumer.adapters import bodies
from consumer.adapters.postgres.connection import translation
from consumer.adapters.postgres.operating.answers import answers, refuse_superusers
from consumer.adapters.postgres.operating.session import Connection
from consumer.domain.errors import ConsumerError, Misconfigured
from consumer.domain.forgetting import OTHERS, PROVIDERS, Identity, all_spellings, given, mention

_PERSON: Final = """
    select pg_catalog.row_to_json(l)
    from (
        select p.channels, p.ids
        from router.person_of(%(channel)s::pg_catalog.text, %(ids)s::pg_catalog.text[]) p
    ) l
"""
_EXPORT: Final = """
    select pg_catalog.row_to_json(l)
    from router.export_person(%(channels)s::pg_catalog.text[], %(ids)s::pg_catalog.text[]) l
"""
_ERASE: Final = "select router.erase(%(channels)s::pg_catalog.text[], %(ids)s::pg_catalog.text[])::pg_catalog.text"
_PAGE: Final = """
    select id, received_at, body, is_compressed
    from router.deliveries_since(
             p_provider => %(provider)s::pg_catalog.text, p_since => %(since)s::pg_catalog.timestamptz,
             p_after => %(after)s::pg_catalog.timestamptz, p_after_id => %(after_id)s::pg_catalog.int8,
             p_limit => 1000, p_bytes => 8388608)
"""
_SCRUB: Final = """
    select scrubbed, waiting
    from router.scrub_deliveries(%(ids)s::pg_catalog.int8[], %(times)s::pg_catalog.timestamptz[])
"""
_NOW: Final = "select pg_catalog.clock_timestamp()"
_READ_COMMITTED: Final = "set transaction isolation level read committed, read write"
_COLLISIONS: Final = {"40001", "40P01", "55P03"}
"""Routing may be about to write to the same person, and goes first."""
_REST_SECONDS: Final = 0.05
_LONGEST_REST_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 60.0
_REFERS: Final = "23503"
_LATE: Final = timedelta(minutes=10)
"""How long before its commit a delivery may have arrived."""
_LONG_AGO: Final = datetime(1, 1, 2, tzinfo=UTC)

DELIVERIES: Final = "router.deliveries"


@dataclass(slots=True, kw_only=True)
class Erased:
    """What has gone."""

    gone: dict[str, int] = field(default_factory=dict)
    """Rows, by table; of `router.deliveries` bodies."""
    waiting: int = 0
    """Deliveries that mention the person and are not in effect yet: they keep their bodies until they are."""


class Forgetting:
    """One person, in one database."""

    def __init__(self, connection: Connection, *, channel: str, external_id: str) -> None:
        """Misconfigured: the id is blank, as a variable of a script may be; nothing is in every body."""
        if not given(channel, external_id):
            raise Misconfigured("the id of the person is blank; give the one that contact_channels.external_id has")
        self._connection = connection
        self._channel = channel
        self._external_id = external_id

    async def identities(self) -> Sequence[Identity]:
        """All of them, with all their spellings, that in the question among them."""
        known: set[Identity] = set()
        found = set(given(self._channel, self._external_id))
        # Another spelling may lead to another contact, and that one to further identities.
        while found > known:
            known = set(found)
            for channel in sorted({identity.channel for identity in known}):
                asked = {"channel": channel, "ids": sorted(one.id for one in known if one.channel == channel)}
                with _as_owner():
                    (person,) = await answers(self._connection, "person_of", _PERSON, asked)
                found |= set(all_spellings(map(Identity, person["channels"], person["ids"])))
        return sorted(found)

    async def export(self) -> dict[str, list[Any]]:
        """All rows of the person, by table."""
        found: dict[str, list[Any]] = {}
        parameters = _parameters(await self.identities())
        for row in await answers(self._connection, "export_person", _EXPORT, parameters):
            found.setdefault(row["kind"], []).append(row["data"])
        if not found:
            self._check_channel()
        return found

    async def erase(
        self, identities: Sequence[Identity], *, dry_run: bool, progress: Callable[[int], None] = lambda _: None
    ) -> Erased:
        """Deletes all there is; a dry run takes it back. `progress` is told how many deliveries were looked at.

        Bodies go first: what names the person's other identities is needed to find them. Those that have come
        meanwhile follow in the end.

        Raises:
            ConsumerError: the application refuses it, in words; nothing but bodies of deliveries has gone.
        """
        await refuse_superusers(self._connection, "erase")
        begun = await self._now() - _LATE
        scrubbed, waiting = await self._bodies(identities, since=_LONG_AGO, dry_run=dry_run, progress=progress)
        if waiting and not dry_run:
            # Once the rows have gone, nobody knows that an identity in such a body is this person's.
            return Erased(gone={DELIVERIES: scrubbed} if scrubbed else {}, waiting=waiting)
        done = Erased(gone=await self._rows(identities, dry_run=dry_run), waiting=waiting)
        if not dry_run:
            more, still = await self._bodies(identities, since=begun, dry_run=False, progress=progress)
            scrubbed, done.waiting = scrubbed + more, max(waiting, still)
        if scrubbed:
            done.gone[DELIVERIES] = scrubbed
        if not done.gone:
            self._check_channel()
        return done

    def _check_channel(self) -> None:
        """A channel that nobody knows is a typing error, and somebody would believe to have been forgotten.

        Raises:
            Misconfigured: it is one.
        """
        known = sorted(PROVIDERS.keys() | OTHERS)
        if self._channel.lower() not in known:
            hint = "; that of Messenger is called facebook" if self._channel.lower() == "messenger" else ""
            raise Misconfigured(f"nothing is known of a channel {self._channel!r}: there are {', '.join(known)}{hint}")

    async def _now(self) -> datetime:
        row = await (await self._connection.execute(_NOW, binary=True)).fetchone()
        assert row is not None
        now: datetime = row[0]
        return now

    async def _rows(self, identities: Sequence[Identity], *, dry_run: bool) -> dict[str, int]:
        rest, deadline = _REST_SECONDS, time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                async with self._connection.transaction(force_rollback=dry_run):
                    await self._connection.execute(_READ_COMMITTED)
                    cursor = await self._connection.execute(_ERASE, _parameters(identities))
                    row = await cursor.fetchone()
            except psycopg.Error as error:
                if error.sqlstate in _COLLISIONS and time.monotonic() < deadline:
                    await asyncio.sleep(rest)
                    rest = min(2 * rest, _LONGEST_REST_SECONDS)
                    continue
                raise _in_words(error) from error
            assert row is not None
            gone: dict[str, int] = bodies.decoded(row[0].encode())
            return gone

    async def _bodies(
        self, identities: Sequence[Identity], *, since: datetime, dry_run: bool, progress: Callable[[int], None]
    ) -> tuple[int, int]:
        """How many bodies that mention the person have gone, and how many wait."""
        wanted, looked, scrubbed, waiting = mention(identities), 0, 0, 0
        for provider in sorted({PROVIDERS[channel] for channel, _ in identities if channel in PROVIDERS}):
            after: tuple[datetime | None, int | None] = (None, None)
            while True:
                asked = {"provider": provider, "since": since, "after": after[0], "after_id": after[1]}
                page = await (await self._connection.execute(_PAGE, asked, binary=True)).fetchall()
                if not page:
                    break
                looked += len(page)
                after = (page[-1][1], page[-1][0])
                found = await asyncio.to_thread(_mentioning, page, wanted)
                if found:
                    parameters = {"ids": [row[0] for row in found], "times": [row[1] for row in found]}
                    async with self._connection.transaction(force_rollback=dry_run):
                        await self._connection.execute(_READ_COMMITTED)
                        cursor = await self._connection.execute(_SCRUB, parameters, binary=True)
                        row = await cursor.fetchone()
                    assert row is not None
                    scrubbed, waiting = scrubbed + row[0], waiting + row[1]
                progress(looked)
        return scrubbed, waiting


def _mentioning(page: Sequence[tuple[Any, ...]], wanted: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - a pattern of bytes
    return [row for row in page if wanted.search(_whole(row[2], is_compressed=row[3]))]


def _whole(body: bytes, *, is_compressed: bool) -> bytes:
    try:
        return bodies.unpacked(body, is_compressed=is_compressed)
    except ValueError:
        return body  # nobody will ever read it


def _parameters(identities: Sequence[Identity]) -> dict[str, object]:
    return {
        "channels": [identity.channel for identity in identities],
        "ids": [identity.id for identity in identities],
    }


@contextmanager
def _as_owner() -> Iterator[None]:
    """Says whose rights it takes: no grant gives them to others."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            "what people wrote, and that it goes, is not for the service's login; give the URL of the tables' owner"
        ) from error


def _in_words(error: psycopg.Error) -> ConsumerError:
    found = translation(error)
    if error.sqlstate == _REFERS and error.diag.table_name:
        return ConsumerError(
            f"nothing was erased: rows of {error.diag.table_name} refer to what was to go (foreign key "
            f"{error.diag.constraint_name}); delete them or let go of them there first, or have that key do so: "
            "on delete cascade for what is the person's, on delete set null for what is not"
        )
    return found
