"""Postgres servers and databases for tests: which versions there are, and a fresh database on one of them."""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from consumer.adapters.postgres.migrations import migrator
from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres, all_binaries, find_binaries

TEST_SETTINGS = {"fsync": "off", "max_connections": "300"}
"""Fast rather than durable: what a crash of the machine would lose is a test's data."""
TEMPLATE = "schema_template"
"""A database with the schema, on the servers that tests share."""


class Server(EmbeddedPostgres):
    """A server that can be used in other processes as well; only the one that has started it can end it."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_supervisor": None, "_temporary": False, "_scratch": None}


@contextlib.contextmanager
def server_with_template(binaries: Binaries) -> Iterator[Server]:
    """A server that has the database `TEMPLATE`."""
    with running(binaries) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        migrator.migrate(server.dsn(TEMPLATE))
        yield server


@contextlib.contextmanager
def running(binaries: Binaries) -> Iterator[Server]:
    """A server with the settings of tests."""
    server = Server.start(binaries=binaries, settings=TEST_SETTINGS)
    try:
        yield server
    finally:
        server.stop("immediate")  # the data are deleted as well, so an orderly shutdown is pointless


@functools.cache
def newest_binaries() -> Binaries:
    """The newest Postgres available, or the major version that WEBHOOK_ROUTER_TEST_PG_MAJOR names."""
    wanted = os.environ.get("WEBHOOK_ROUTER_TEST_PG_MAJOR")
    if wanted:
        return find_binaries(major=int(wanted))
    return max(all_binaries(), key=lambda binaries: binaries.major, default=None) or find_binaries()


@functools.cache
def oldest_binaries() -> Binaries:
    """The oldest supported Postgres available; may be the same as the newest."""
    return min(all_binaries(), key=lambda binaries: binaries.major, default=None) or find_binaries()


def tested_majors() -> list[int]:
    """Newest and oldest major version, one when they are the same, none when no Postgres is installed."""
    if not all_binaries():
        return []
    return list(dict.fromkeys([newest_binaries().major, oldest_binaries().major]))


@contextlib.contextmanager
def empty_database_on(server: EmbeddedPostgres, *, template: str = "template1") -> Iterator[str]:
    """The DSN of a new database with a name of its own, dropped at the end even if someone is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    create = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
    if server.major >= 15:  # an older one has no choice
        create += sql.SQL(" strategy file_copy")  # half the work of wal_log, where files are in memory
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(create)
    try:
        yield server.dsn(name)
    finally:
        # A connection of its own: the test may have taken hours, or restarted the server.
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
