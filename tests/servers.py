"""Postgres servers and databases for tests: which versions there are, and a fresh database on one of them."""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterator

import psycopg
from psycopg import sql

from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres, all_binaries, find_binaries

TEST_SETTINGS = {"fsync": "off", "max_connections": "200"}
"""Fast rather than durable: what a crash of the machine would lose is a test's data."""


@functools.cache
def newest_binaries() -> Binaries:
    """The newest Postgres to be had, or the major version that WEBHOOK_ROUTER_TEST_PG_MAJOR names."""
    wanted = os.environ.get("WEBHOOK_ROUTER_TEST_PG_MAJOR")
    if wanted:
        return find_binaries(major=int(wanted))
    return max(all_binaries(), key=lambda binaries: binaries.major, default=None) or find_binaries()


@functools.cache
def oldest_binaries() -> Binaries:
    """The oldest supported Postgres to be had; may be the same as the newest."""
    return min(all_binaries(), key=lambda binaries: binaries.major, default=None) or find_binaries()


def tested_majors() -> list[int]:
    """Newest and oldest major version, one when they are the same, none when no Postgres is installed."""
    if not all_binaries():
        return []
    return list(dict.fromkeys([newest_binaries().major, oldest_binaries().major]))


@contextlib.contextmanager
def empty_database_on(server: EmbeddedPostgres, *, template: str = "template1") -> Iterator[str]:
    """The DSN of a new database with a name of its own, dropped in the end whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    try:
        yield server.dsn(name)
    finally:
        # A connection of its own: the test may have taken hours, or restarted the server.
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
