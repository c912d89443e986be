"""Applies `schemas/` to a database: what is pending, one migrator at a time, without making the traffic wait.

Tables change by migrations, each applied once. Types, functions and rights have no history: they are made what their
files say, as a whole, in one transaction. A second run changes nothing and is cheap. Everything here blocks; call it
from a thread in asyncio code.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import psycopg
from psycopg import errors, sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import checks, rights, sessions, types
from consumer.adapters.postgres.migrations.checks import check, notes
from consumer.adapters.postgres.migrations.decisions import Decisions
from consumer.adapters.postgres.migrations.history import History
from consumer.adapters.postgres.migrations.sessions import MIGRATION_LOCK, MINIMUM_MAJOR, Report
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, Migration, SqlFile, SqlFiles
from consumer.adapters.postgres.scripts.statements import split_statements
from consumer.domain.errors import Fatal, Transient

LOCK_TIMEOUT: Final = 3.0
"""Seconds that a step waits for a lock before it steps back.

An exclusive lock waits for every transaction that uses the table, and all traffic waits behind it: better to give up
soon and come back later than to stop everything for as long as a long query runs.
"""

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0

__all__ = ["LOCK_TIMEOUT", "MIGRATION_LOCK", "MINIMUM_MAJOR", "MigrationReport", "check", "migrate", "notes"]

T = TypeVar("T")


def _silent(_: str) -> None:
    """For callers that want no report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What one run did; all empty if everything was in place already."""

    migrations: tuple[str, ...] = ()
    """File names of the migrations applied now."""
    functions: int = 0
    """How many functions were put in force; either none or all."""
    repaired: tuple[str, ...] = ()
    """What was missing and was made again: tables, columns, indexes, also those that an interrupted build has left."""
    marked: int = 0
    """Events that were marked as routed, as `routed_before` says."""
    rights: tuple[str, ...] = ()
    """How owners and rights deviated from what they should be, and were put right without applying functions."""
    built: tuple[str, ...] = ()
    """Indexes that were asked for, for deletions."""
    notes: tuple[str, ...] = ()
    """What should be known about this database, and prevents nothing."""

    @property
    def changed(self) -> bool:
        """Whether the run did anything."""
        return bool(self.migrations or self.functions or self.repaired or self.marked or self.built or self.rights)


def migrate(
    conninfo: str,
    *,
    report: Report = _silent,
    reapply: bool = False,
    doorbell: bool | None = None,
    public_api: bool | None = None,
    service: bool = False,
    routed_before: datetime | None = None,
    deletion_indexes: bool = False,
    patience: float = 300.0,
    lock_timeout: float = LOCK_TIMEOUT,
    minimum_major: int = MINIMUM_MAJOR,
    files: SqlFiles = SHIPPED,
) -> MigrationReport:
    """Brings a database to this version.

    Args:
        conninfo: libpq URL or DSN of the owner of the tables, or of a superuser.
        report: called with one line for each thing that is done or waited for.
        reapply: apply types, functions and rights even if nothing shows that they differ.
        doorbell: whether inserting events wakes the service, which a transaction that is to be prepared (two-phase
            commit) must not; None: as it was decided before, at first yes.
        public_api: whether anon and authenticated may call the public functions; None: as it was decided before, at
            first yes.
        service: give the existing role of the service its rights in this database, which it keeps from then on.
        routed_before: what arrived before is marked as routed; see `history`.
        deletion_indexes: build what deleting conversations and contacts needs, where nothing serves it.
        patience: seconds to go on trying while transactions of the application hold the locks that a step needs.
        lock_timeout: seconds that each of these attempts waits for a lock.
        minimum_major: the oldest version of Postgres that is accepted.
        files: what to apply.

    Raises:
        Fatal: something must be fixed by hand first, the message says what; the step that failed is undone.
        Misconfigured: the connection goes through a pooler that shares out sessions; nothing was changed.
        Transient: a connection broke, or patience ended; run it again.
    """
    with sessions.connected(conninfo, minimum_major) as connection:
        sessions.refuse_pooler(connection, conninfo)
        with sessions.alone(connection, report):
            run = _Run(connection, files, report, patience=patience, lock_timeout=lock_timeout)
            decisions = Decisions(doorbell=doorbell, public_api=public_api, service=service)
            return run.all(decisions, reapply=reapply, routed_before=routed_before, deletion_indexes=deletion_indexes)


class _Run:
    """One run of `migrate`, on a connection in autocommit that holds the lock."""

    def __init__(
        self, connection: Connection, files: SqlFiles, report: Report, *, patience: float, lock_timeout: float
    ) -> None:
        self._connection = connection
        self._files = files
        self._report = report
        self._patience = patience
        self._lock_timeout = lock_timeout
        self._current: SqlFile | None = None  # what the server is running, for errors
        self._sent = ""  # the text of it that was sent
        self._line = 1  # the line of the file where that text begins

    def all(
        self, decisions: Decisions, *, reapply: bool, routed_before: datetime | None, deletion_indexes: bool
    ) -> MigrationReport:
        with sessions.reading(self._connection):
            problems = checks.problems(self._connection, self._files)
            applied = set() if problems else checks.applied_versions(self._connection)
        if problems:
            raise Fatal(
                "the database cannot be migrated yet, and nothing was changed. If this is not the URL of the tables' "
                f"owner, use that one. Otherwise first put right:{checks.told(problems)}"
            )
        if newer := checks.newer_versions(applied, self._files):
            raise Fatal(
                f"a newer release has migrated this database ({', '.join(newer)}): use that release. To go back to "
                "this one, let that release run webhook-router uninstall, which leaves the data, then migrate with this"
            )
        with sessions.reading(self._connection):
            gone = checks.missing(self._connection, self._files, applied)
        broken = self._indexes_gone(applied)
        bookkeeping = [self._files.file("migrator", name) for name in ("bookkeeping.sql", "found.sql")]
        self._patiently("bookkeeping", lambda: self._commit(*bookkeeping))
        history = History(self._connection, self._report, self._apart, self._lock_timeout)
        history.begin(routed_before)
        done = []
        for migration in self._files.migrations():
            if migration.version not in applied:
                if not migration.transactional:
                    history.work()  # before there are more indexes that each update would have to keep up
                self._report(f"applying {migration.name}")
                self._apply(migration)
                done.append(migration.name)
            elif migration.version in {version for version, _ in gone} | self._versions_gone(applied):
                self._report(f"applying {migration.name} again, since what it has made is missing")
                self._apply(migration)  # each makes what does not exist, and leaves the rest alone
            elif not migration.transactional and self._indexes_gone(applied):
                self._apply(migration)
        history.work()
        built = self._build_for_deletion() if deletion_indexes else ()
        with sessions.reading(self._connection):
            outdated = checks.outdated_functions(self._connection, self._files)
            changes = decisions.doorbell not in (None, checks.rings(self._connection))
        functions = 0
        wrong: list[str] = []
        if reapply or done or outdated or changes:
            functions = self._apply_functions(decisions)
        else:
            wrong = self._put_rights_in_force(decisions)
        with sessions.reading(self._connection):
            said = checks.notes_on(self._connection, self._files)
        return MigrationReport(
            migrations=tuple(done),
            functions=functions,
            repaired=(*(what for _, what in gone), *(f"{s}.{index}" for s, index in broken)),
            marked=history.marked,
            built=tuple(built),
            rights=tuple(wrong),
            notes=tuple(said),
        )

    def _versions_gone(self, applied: set[str]) -> set[str | None]:
        """Applied migrations whose work is missing, as it is now: with a table, what later ones have added has gone."""
        with sessions.reading(self._connection):
            return {version for version, _ in checks.missing(self._connection, self._files, applied)}

    def _indexes_gone(self, applied: set[str]) -> list[tuple[str, str]]:
        with sessions.reading(self._connection):
            return [
                *checks.invalid_indexes(self._connection, self._files),
                *checks.missing_indexes(self._connection, self._files, applied),
            ]

    def _broken(self) -> list[tuple[str, str]]:
        with sessions.reading(self._connection):
            return checks.invalid_indexes(self._connection, self._files)

    def _apply(self, migration: Migration) -> None:
        if migration.transactional:
            self._patiently(migration.name, lambda: self._commit(migration, then=lambda: self._record(migration)))
        else:
            self._patiently(migration.name, lambda: self._run_each_statement(migration))

    def _record(self, migration: Migration) -> None:
        self._connection.execute(
            "insert into router.schema_migrations (version, name) values (%s, %s) on conflict do nothing",
            [migration.version, migration.name],
        )

    def _commit(self, *files: SqlFile, then: Callable[[], None] | None = None) -> None:
        with self._transaction():
            for file in files:
                self._send(file)
            if then is not None:
                then()

    def _run_each_statement(self, migration: Migration) -> None:
        """In autocommit, without a lock timeout: a concurrent build waits long, but nothing waits for it."""
        if waiting := sessions.in_the_way_of_builds(self._connection):
            raise errors.LockNotAvailable(f"an index build would wait for {waiting}")
        broken = self._broken()
        with sessions.building(self._connection):
            for name in broken:
                self._report(f"dropping index {'.'.join(name)}, which an interrupted build has left behind")
                self._connection.execute(sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(*name)))
            for statement in split_statements(migration.text):
                self._current, self._sent, self._line = migration, statement.text, statement.line
                cursor = self._connection.execute(statement.text.encode())
                for row in cursor.fetchall() if statement.generates else []:
                    self._connection.execute(row[0].encode())
        with self._transaction():
            self._record(migration)

    def _build_for_deletion(self) -> list[str]:
        wanted = self._files.file("migrator", "deletion_indexes.sql")

        def once() -> list[str]:
            if waiting := sessions.in_the_way_of_builds(self._connection):
                raise errors.LockNotAvailable(f"an index build would wait for {waiting}")
            with sessions.reading(self._connection):
                found = self._connection.execute(wanted.text.encode()).fetchall()
            with sessions.building(self._connection):
                for name, statement in found:
                    self._report(f"building index {name}")
                    self._connection.execute(statement.encode())
            return [name for name, _ in found]

        return self._apart("indexes for deletions", once)

    def _put_rights_in_force(self, decisions: Decisions) -> list[str]:
        """What was not as it should be; what only a superuser should decide is left as it is."""
        wrong: list[str] = []

        def once() -> None:
            wrong.clear()
            with self._transaction():
                self._send(self._files.file("migrator", "functions_begin.sql"))
                self._send(decisions.remembered())
                found = rights.differences(self._connection, self._files)
                wrong.extend(problem for problem, remedy in found if remedy == rights.BY_MIGRATING)
                self._send(self._files.rights())

        self._patiently("rights", once)
        return wrong

    def _apply_functions(self, decisions: Decisions) -> int:
        self._report("applying types, functions and rights")
        files, used_types = self._files.functions(), self._files.types()
        drop_first: set[str] = set()

        def once() -> None:
            with self._transaction():
                self._send(self._files.file("migrator", "functions_begin.sql"))
                self._send(self._files.file("migrator", "keep_functions.sql"))
                self._send(decisions.remembered())
                for file in used_types:
                    self._send(types.in_force(file))
                for file in files:
                    if file.name in drop_first:
                        self._drop_routines(file)
                    self._send(file)
                self._send(self._files.functions_end())
                self._send(types.noted(used_types))
                self._send(self._files.rights())
                self._note_checksums([*files, *used_types, self._files.rights()])

        def until_replaced() -> None:
            while True:
                try:
                    return once()
                except errors.InvalidFunctionDefinition:
                    # "Or replace" cannot change the result of a private function. Results of public ones were checked
                    # beforehand: if one differs, the function belongs to the application.
                    file = self._current
                    if file is None or not file.name.startswith("router.") or file.name in drop_first:
                        raise
                    drop_first.add(file.name)

        self._patiently("functions", until_replaced)
        return len(files)

    def _drop_routines(self, file: SqlFile) -> None:
        rows = self._connection.execute(
            """
            select format('drop routine %%s', p.oid::regprocedure)
            from pg_proc p
            join router.schema_functions s on replace(s.signature, '"', '') = p.oid::regprocedure::text
            where p.pronamespace = to_regnamespace('router') and s.file = %s
            """,
            [file.name],
        ).fetchall()
        for (statement,) in rows:
            self._connection.execute(statement.encode())

    def _note_checksums(self, files: list[SqlFile]) -> None:
        names, checksums = [file.name for file in files], [file.checksum for file in files]
        self._connection.execute(
            """
            insert into router.schema_functions (file, checksum)
            select f.name, f.checksum from unnest(%s::text[], %s::text[]) as f (name, checksum)
            on conflict (file) do update set checksum = excluded.checksum
            """,
            [names, checksums],
        )
        for (name,) in self._connection.execute(
            "select file from router.schema_functions where signature is null and file <> %s",
            [self._files.rights().name],
        ):
            raise Fatal(f"{name} does not define what it is named after")

    def _transaction(self) -> contextlib.AbstractContextManager[None]:
        return sessions.writing(self._connection, lock_timeout=self._lock_timeout)

    def _send(self, file: SqlFile) -> None:
        self._current, self._sent, self._line = file, file.text, 1
        self._connection.execute(file.text.encode())

    def _apart(self, what: str, work: Callable[[], T]) -> T:
        """As `_patiently`, for work that is in no file."""
        self._current = None
        return self._patiently(what, work)

    def _patiently(self, what: str, work: Callable[[], T]) -> T:
        """Repeats the work, after growing pauses, as long as others hold locks that it needs."""
        deadline = time.monotonic() + self._patience
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return work()
            except psycopg.Error as exc:
                if self._connection.closed:
                    raise Transient(f"{what}: the connection broke: {exc}") from exc
                if not passes(exc):
                    raise Fatal(self._located(exc) + _who_may(exc)) from exc
                blockers = sessions.blockers(self._connection)
                if time.monotonic() + pause > deadline:
                    raise Transient(f"{self._located(exc)}. In the way: {blockers}. Run it again later") from exc
                self._report(f"{what}: waiting for a lock; in the way: {blockers}; next attempt in {pause:g} s")
            sessions.pause(self._connection, pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _located(self, exc: psycopg.Error) -> str:
        """The server's message on one line, with file and line; without its detail, which quotes rows."""
        about = exc.diag
        parts = [f"{about.message_primary or exc} ({exc.sqlstate})"]
        if about.message_hint:
            parts.append(f"Hint: {about.message_hint}")
        if about.context:
            parts.append(f"At: {about.context.splitlines()[0]}")
        if self._current is None:
            return ". ".join(parts)
        line = self._line + self._sent.count("\n", 0, int(about.statement_position or 1) - 1)
        return f"{self._current.name}, line {line}: " + ". ".join(parts)


def _who_may(exc: psycopg.Error) -> str:
    if isinstance(exc, errors.InsufficientPrivilege):
        return ". Use the URL of the owner of the tables, or once that of a superuser"
    return ""


def passes(exc: psycopg.Error) -> bool:
    """Whether others were in the way: also a migrator of another database of the server, which has the same roles."""
    if isinstance(exc, errors.UniqueViolation):
        return exc.diag.schema_name == "pg_catalog"
    if isinstance(exc, errors.InternalError_):
        return "concurrently updated" in str(exc)
    return isinstance(exc, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure)
