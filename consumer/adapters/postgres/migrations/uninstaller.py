"""Takes out of a database what `migrate` has added, and puts back what it has replaced; data stay.

One transaction, under locks that all of it needs at once: it happens as a whole or not at all. Nothing that the
application needs goes with it: what depends on ours is named, and keeps it from being done.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import psycopg
from psycopg import errors, sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import checks, replaced, sessions
from consumer.adapters.postgres.migrations.migrator import LOCK_TIMEOUT, passes
from consumer.adapters.postgres.migrations.replaced import Restoring
from consumer.adapters.postgres.migrations.sessions import Report
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFiles
from consumer.domain.errors import Fatal, Transient

_PAUSE_SECONDS: Final = 1.0

_TABLES: Final = (
    *("message_delivery", "message_reactions", "message_revisions", "message_analysis", "messages"),
    *("webhook_events", "conversations", "contact_channels", "contacts"),
)
"""Those of the contract, each before the ones that it refers to."""
_LOCKED: Final = (
    *("webhook_events", "contacts", "contact_channels", "conversations", "messages", "message_analysis"),
    *("message_delivery", "message_reactions", "message_revisions"),
)
"""The same, in the order in which routing locks them."""
_DROP: Final = {
    "trigger": "drop trigger {}",
    "function": "drop function {}",
    "private function": "drop routine {}",
    "private view": "drop view {}",
    "private table": "drop table {}",
    "private sequence": "drop sequence {}",
    "private type": "drop type {}",
    "index": "drop index {}",
    "column": "alter table {} drop column {}",
    "schema": "drop schema {}",
}
"""In this order, functions before the types that they use."""
_ROUTED_AT: Final = "public.webhook_events.routed_at"
_ACCOUNT: Final = "public.conversations.account_id"
_CHECK: Final = re.compile(
    r"(?P<table>[a-z_]+) (?P<name>[^ ]+) (?P<words>CHECK \(+(channel|\(channel\)::text) = ANY \(+ARRAY\["
    r"('[^'\\]*'::[a-z ]+(, )?)+\](\)::text\[\])?\)+(?: NOT VALID)?)"
)
"""A check that was widened, as router.found has it: nothing but a list of channels, since it is run."""
_SETTING: Final = re.compile(r"(?P<table>public\.[a-z_]+) (?P<name>[a-z_]+)=(?P<value>[0-9.]+)")
"""A setting that was made, as router.found has it."""

_ME: Final = """
    select r.rolname::text, r.rolsuper, coalesce(o.rolname, r.rolname)::text,
           coalesce(pg_has_role(o.oid, 'usage'), true),
           has_schema_privilege(coalesce(o.oid, r.oid), 'public', 'create')
    from pg_roles r
    left join pg_namespace n on n.nspname = 'router'
    left join pg_class c on c.oid = to_regclass('public.webhook_events')
    left join pg_roles o on o.oid = coalesce(c.relowner, n.nspowner)
    where r.rolname = current_user
"""
# Plain tables, over which nobody has put code that runs when they are read, with the rights of whoever reads.
_READABLE: Final = """
    select c.relname::text
    from pg_class c
    where c.relnamespace = to_regnamespace(%s) and c.relkind = 'r' and has_table_privilege(c.oid, 'select')
      and not exists (select from pg_depend t
                      join pg_depend f on f.classid = t.classid and f.objid = t.objid
                      where t.refclassid = 'pg_class'::regclass and t.refobjid = c.oid
                        and f.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)
                        and t.classid <> 'pg_trigger'::regclass)
"""
_SETTINGS: Final = "select unnest(c.reloptions)::text from pg_class c where c.oid = to_regclass(%s)"
_SERVICES: Final = """
    select format('process %%s (%%s, %%s)', a.pid, coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename)
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
      and (a.application_name = %s
           or exists (select from pg_auth_members m
                      where m.roleid = to_regrole('webhook_router_service') and m.member = a.usesysid))
    order by a.pid
"""
_STRANGERS: Final = """
    select pg_describe_object(o.classid, o.objid, 0)
    from (
        select 'pg_proc'::regclass as classid, p.oid as objid
        from pg_proc p
        where p.pronamespace = to_regnamespace('router')
        union all
        select 'pg_class'::regclass, c.oid
        from pg_class c
        where c.relnamespace = to_regnamespace('router') and c.relkind not in ('i', 'I', 'c', 't')
        union all
        select 'pg_type'::regclass, t.oid
        from pg_type t
        left join pg_class c on c.oid = t.typrelid
        where t.typnamespace = to_regnamespace('router') and coalesce(c.relkind, 'c') = 'c' and t.typelem = 0
    ) o
    where not exists (select from unnest(%s::oid[], %s::oid[]) as u (classid, objid)
                      where u.classid = o.classid and u.objid = o.objid)
    order by 1
"""
_CALLERS: Final = """
    select format('function %%s, which seems to call %%s: that is gone', p.oid::regprocedure,
                  (select string_agg(w.name, ', ' order by w.name)
                   from unnest(%s::text[]) as w (name)
                   where position(w.name in p.prosrc) > 0))
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where not starts_with(n.nspname, 'pg_') and n.nspname <> 'information_schema' and p.oid <> all (%s::oid[])
      and exists (select from unnest(%s::text[]) as w (name) where position(w.name in p.prosrc) > 0)
    order by 1
"""
# Roles are of the whole server: other databases may need them, and logins may be members.
_ROLES: Final = """
    select r.rolname::text,
           case when exists (select from pg_shdepend d
                             where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.dbid <> 0
                               and d.dbid <> (select b.oid from pg_database b where b.datname = current_database()))
                then 'another database of the server needs it'
                when r.rolname = 'webhook_router_service'
                     and exists (select from pg_auth_members m where m.roleid = r.oid)
                then 'there are logins that are members of it' end
    from pg_roles r
    where r.rolname in ('webhook_router_api', 'webhook_router_service')
    order by r.rolname
"""

# What deploy/sql/roles.sql leaves in a database besides grants on our objects.
_SERVICE_LEFT: Final = """
    select exists (select from pg_db_role_setting s
                   where s.setdatabase = d.oid and s.setrole = to_regrole('webhook_router_service')) as is_marked,
           d.datacl is not null
           and not exists (select from aclexplode(d.datacl) a where a.grantee = 0 and a.privilege_type = 'CONNECT')
               as is_closed,
           exists (select from aclexplode(d.datacl) a where a.grantee = to_regrole('webhook_router_service')::oid)
               as is_let_in,
           d.datname::text
    from pg_database d
    where d.datname = current_database() and to_regrole('webhook_router_service') is not null
"""


class _Object(NamedTuple):
    """Something of ours, as uninstall_objects.sql names it."""

    kind: str
    name: str
    classid: int
    objid: int
    objsubid: int


@dataclass(slots=True)
class Removal:
    """What is taken out, or would be."""

    problems: list[tuple[str, str]] = field(default_factory=list)
    """What stands in the way, each with what to do."""
    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What stays, and why."""


def plan(conninfo: str, *, files: SqlFiles = SHIPPED) -> Removal:
    """What `uninstall` would do, and what stands in its way; changes nothing.

    Raises:
        Fatal, Transient: as `migrate`.
    """
    with sessions.connected(conninfo) as connection, sessions.reading(connection):
        return _Uninstallation(connection, files).plan()


def uninstall(
    conninfo: str,
    *,
    report: Report = lambda _: None,
    patience: float = 300.0,
    lock_timeout: float = LOCK_TIMEOUT,
    files: SqlFiles = SHIPPED,
) -> Removal:
    """Takes it all out.

    Raises:
        Fatal: something stands in the way, the message says what; nothing was changed.
        Misconfigured: the connection goes through a pooler that shares out sessions.
        Transient: a connection broke, or others held locks for longer than `patience`, in seconds; run it again.
    """
    with sessions.connected(conninfo) as connection:
        sessions.refuse_pooler(connection, conninfo)
        with sessions.alone(connection, report):
            deadline = time.monotonic() + patience
            while True:
                try:
                    with sessions.writing(connection, lock_timeout=lock_timeout):
                        return _Uninstallation(connection, files).carry_out()
                except psycopg.Error as exc:
                    if connection.closed:
                        raise Transient(f"the connection broke: {exc}") from exc
                    if not passes(exc):
                        raise Fatal(f"nothing was changed: {exc.diag.message_primary or exc} ({exc.sqlstate})") from exc
                    blockers = sessions.blockers(connection)
                    if time.monotonic() > deadline:
                        raise Transient(f"a lock is not available; in the way: {blockers}. Run it again later") from exc
                    report(f"waiting for a lock; in the way: {blockers}; next attempt in {_PAUSE_SECONDS:g} s")
                sessions.pause(connection, _PAUSE_SECONDS)


class _Uninstallation:
    """One attempt, in a transaction that the caller has opened."""

    def __init__(self, connection: Connection, files: SqlFiles) -> None:
        self._connection = connection
        self._files = files
        row = connection.execute(_ME).fetchone()
        assert row is not None
        self._me, self._is_super, self._owner, self._acts, self._may_create = row
        self._restoring = Restoring(connection, me=self._me, is_super=self._is_super, owner=self._owner)
        self._look()

    def _look(self) -> None:
        """Finds out what there is."""
        self._readable = set(self._names(_READABLE, "router"))
        self._found: set[str] | None = None  # tables and columns that were there first, where that is known
        if "found" in self._readable:
            self._found = set(self._names("select kind || ' ' || name from router.found"))
        self._copies = replaced.copies(self._connection) if "replaced_functions" in self._readable else []
        self._whole = [copy for copy in self._copies if copy.is_whole]
        self._all = self._objects()
        self._strangers = self._names(
            _STRANGERS, [thing.classid for thing in self._all], [thing.objid for thing in self._all]
        )
        restored = {copy.signature for copy in self._whole}
        self._going = [
            thing
            for kind in _DROP
            for thing in self._all
            if thing.kind == kind
            and not (kind == "function" and thing.name in restored)
            and not (kind == "column" and not self._goes(thing.name))
            and not (kind == "schema" and self._strangers)
        ]

    def plan(self) -> Removal:
        removal = Removal()
        if not self._all:
            removal.left.append("webhook-router is not installed in this database")
            return removal
        removal.problems = [*self._problems()]
        removal.done = [
            *(f"function {copy.signature} of the application is put back" for copy in self._whole),
            *(f"{thing.kind} {thing.name} is dropped" for thing in self._going),
        ]
        removal.left = [*self._functions_left(), *self._callers(), *self._data_left()]
        return removal

    def carry_out(self) -> Removal:
        """Does it.

        Raises:
            Fatal: something stands in the way.
        """
        if self._all and (self._is_super or self._acts):
            self._lock()
            self._look()
        removal = self.plan()
        if removal.problems:
            raise Fatal(
                "webhook-router cannot be uninstalled yet, and nothing was changed. First put right:"
                f"{checks.told(removal.problems)}"
            )
        if not self._all:
            return removal
        if self._whole:
            self._restoring.restore(self._whole)
        for kind, statement in _DROP.items():
            names = [thing.name for thing in self._going if thing.kind == kind]
            if kind == "column":
                for name in names:
                    self._execute(statement.format(*name.rsplit(".", 1)))
            elif names:
                self._execute(statement.format(", ".join(names)))
        self._drop_tables(removal)
        self._narrow_checks(removal)
        self._reset_settings(removal)
        self._drop_roles(removal)
        return removal

    # ── What there is ────────────────────────────────────────────────────────────────────────────────────────────────

    def _objects(self) -> list[_Object]:
        names = [file.name for file in [*self._files.types(), *self._files.functions()]]
        listed = []
        if "schema_functions" in self._readable:
            listed = self._names("select signature from router.schema_functions where signature is not null")
        text = self._files.file("migrator", "uninstall_objects.sql").text
        text = text.replace("/* files */", _literals(names)).replace("/* signatures */", _literals(listed))
        found = [_Object(*row) for row in self._connection.execute(text.encode())]
        # A column, or a schema of the application, is no sign of an installation.
        return found if any(thing.kind not in {"column", "schema"} for thing in found) else []

    def _goes(self, column: str) -> bool:
        """Whether the column was added, and holds nothing but the state of the router."""
        if self._found is None:
            return column not in {_ROUTED_AT, _ACCOUNT}
        if f"column {column}" in self._found:
            return False
        if column == _ACCOUNT:
            return not self._was_there("conversations") or self._is_empty("conversations", "account_id")
        return column != _ROUTED_AT or (
            self._was_there("webhook_events") and self._is_empty("webhook_events", "routed_at")
        )

    def _was_there(self, table: str) -> bool:
        return self._found is None or f"table public.{table}" in self._found

    def _is_empty(self, table: str, column: str | None = None) -> bool:
        """Whether it certainly is: a table that cannot be read safely may have rows."""
        if table not in self._names(_READABLE, "public"):
            return False
        condition = sql.SQL("true") if column is None else sql.SQL("{} is not null").format(sql.Identifier(column))
        query = sql.SQL("select exists (select from only {} where {})").format(
            sql.Identifier("public", table), condition
        )
        return self._connection.execute(query).fetchone() == (False,)

    def _dependents(self, objects: Iterable[_Object]) -> list[tuple[str, str]]:
        lists = [list(numbers) for numbers in zip(*(thing[2:] for thing in objects), strict=True)] or [[], [], []]
        text = self._files.file("migrator", "uninstall_dependents.sql").text
        return [(str(thing), str(dependent)) for thing, dependent in self._connection.execute(text.encode(), lists)]

    # ── What to say ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _problems(self) -> Iterable[tuple[str, str]]:
        if not self._is_super and not self._acts:
            yield f'"{self._me}" may not act as "{self._owner}", who owns the tables', "give the URL of that owner"
            return
        for version in checks.newer_versions(checks.applied_versions(self._connection), self._files):
            yield f"a newer release has migrated this database ({version})", "uninstall with that release"
        for name in ("schema_functions", "replaced_functions", "found"):
            if name not in self._readable and any(thing.name == f"router.{name}" for thing in self._all):
                yield (
                    f"router.{name} cannot be read without running somebody's code",
                    "give the URL of the tables' owner",
                )
        if services := self._names(_SERVICES, "webhook-router"):
            yield f"the service is connected: {', '.join(services)}", "stop it first"
        yield from self._problems_of_functions()
        for thing, dependent in self._dependents(self._going):
            yield f"{dependent} of the application depends on {thing}", "drop it or change it first"

    def _problems_of_functions(self) -> Iterable[tuple[str, str]]:
        for copy in self._copies:
            if copy.definition and not copy.is_whole:
                remedy = sql.SQL("delete from router.replaced_functions where signature = {}; -- and make it yourself")
                yield (
                    f"the copy of function {copy.signature} is not the text of that function",
                    remedy.format(sql.Literal(copy.signature)).as_string(),
                )
            elif copy.owner and not self._is_super and not replaced.acts_for(self._connection, self._me, copy.owner):
                yield (
                    f'function {copy.signature} belonged to "{copy.owner}", as whom "{self._me}" cannot act',
                    f"connect as a superuser, or: grant {_quoted(copy.owner)} to {_quoted(self._me)};",
                )
        if self._whole and not self._is_super and not self._may_create:
            yield (
                f'"{self._owner}" may not create in the schema "public"',
                f"grant create on schema public to {_quoted(self._owner)};",
            )

    def _functions_left(self) -> Iterable[str]:
        unknown = [copy.signature for copy in self._copies if not copy.definition]
        if not any(thing.name == "router.replaced_functions" for thing in self._all):
            unknown = [thing.name for thing in self._going if thing.kind == "function"]
        for signature in unknown:
            yield (
                f"whether {signature} has replaced a function of the application is not known: an earlier release kept "
                "no copy. If it has, make yours again from your own sources"
            )
        for copy in self._copies:
            if copy.definition and copy.owner and self._restoring.owner_of(copy) != copy.owner:
                also = f" alter function {copy.signature} security definer;" if copy.is_definer else ""
                yield (
                    f'function {copy.signature} belongs to "{self._owner}" from now on; it belonged to "{copy.owner}"'
                    f"{', with whose rights it ran, and now runs with those of its caller' if also else ''}. "
                    f"When you have read it: alter function {copy.signature} owner to {_quoted(copy.owner)};{also}"
                )

    def _callers(self) -> list[str]:
        """Functions of the application that have a function in their text which goes."""
        going = {thing.objid: thing.name for thing in self._going if thing.kind.endswith("function")}
        # Names of the private schema are too common without it.
        names = sorted({name.removeprefix("public.").partition("(")[0] for name in going.values()})
        restored = self._names(
            "select to_regprocedure(s)::oid::text from unnest(%s::text[]) as s",
            [copy.signature for copy in self._whole],
        )
        return self._names(_CALLERS, names, [*going, *map(int, restored)], names) if names else []

    def _data_left(self) -> Iterable[str]:
        if self._strangers:
            yield f'schema "router", for what the application has in it: {", ".join(self._strangers)}'
        if (
            any(thing.name == _ROUTED_AT for thing in self._all)
            and not any(thing.name == _ROUTED_AT for thing in self._going)
            and self._was_there("webhook_events")
            and self._found is not None
            and f"column {_ROUTED_AT}" not in self._found
        ):
            yield (
                f"column {_ROUTED_AT}, which says when each event was routed. If nothing needs it: alter table "
                "public.webhook_events drop column routed_at;"
            )
        for table in _TABLES:
            if not self._was_there(table) and self._exists(table) and not self._is_empty(table):
                yield f"table public.{table}, which webhook-router has made: it holds data"

    # ── What is done ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _lock(self) -> None:
        tables = ", ".join(f"public.{table}" for table in _LOCKED if self._exists(table))
        if tables:
            self._execute(f"lock table {tables} in access exclusive mode")

    def _drop_tables(self, removal: Removal) -> None:
        """Those that migrations have made, if they are empty and nothing that stays refers to them."""
        for table in _TABLES:
            if self._was_there(table) or not self._exists(table) or not self._is_empty(table):
                continue
            row = self._connection.execute(
                "select 'table', %s, 'pg_class'::regclass::oid, to_regclass(%s)::oid, 0", [f"public.{table}"] * 2
            ).fetchone()
            if dependents := self._dependents([_Object(*row or ())]):
                removal.left.append(f"table public.{table}: {dependents[0][1]} needs it")
            else:
                self._execute(f"drop table public.{table}")
                removal.done.append(f"table public.{table}, which webhook-router had made, was empty and is dropped")

    def _narrow_checks(self, removal: Removal) -> None:
        """Those that migrations have widened, unless there are rows that would not pass any more."""
        for entry in sorted(self._found or ()):
            if entry.startswith("check ") and (match := _CHECK.fullmatch(entry.removeprefix("check "))):
                table, name, words = match["table"], match["name"], match["words"]
                narrowed = f"alter table public.{table} drop constraint {name}, add constraint {name} {words}"
                if self._has_check(table, name):
                    refused = self._try(narrowed)
                    if refused is None:
                        removal.done.append(f"check {name} of public.{table} is what it was")
                    else:
                        removal.left.append(f"check {name} of public.{table}, which allows more channels: {refused}")

    def _reset_settings(self, removal: Removal) -> None:
        """Those that migrations have made, unless somebody has made others since."""
        for entry in sorted(self._found or ()):
            if entry.startswith("setting ") and (match := _SETTING.fullmatch(entry.removeprefix("setting "))):
                table, name, value = match["table"], match["name"], match["value"]
                if f"{name}={value}" in self._names(_SETTINGS, table):
                    self._execute(f"alter table {table} reset ({name})")
                    removal.done.append(f"setting {name} of {table} is what it was")

    def _has_check(self, table: str, name: str) -> bool:
        query = (
            "select exists (select from pg_constraint k where k.conrelid = to_regclass(%s) and k.contype = 'c'"
            " and quote_ident(k.conname) = %s)"
        )
        return self._connection.execute(query, [f"public.{table}", name]).fetchone() == (True,)

    def _drop_roles(self, removal: Removal) -> None:
        row = self._connection.execute(_SERVICE_LEFT).fetchone()
        is_marked, is_closed, is_let_in, database = row or (False, False, False, "")
        if is_marked:
            self._try(f"alter role webhook_router_service in database {_quoted(database)} reset all")
        if is_let_in:
            self._try(f"revoke all on database {_quoted(database)} from webhook_router_service")
        if is_closed:
            removal.left.append(
                "not everybody may connect to this database, perhaps since the service's role was made. To undo that: "
                f"grant connect on database {_quoted(database)} to public;"
            )
        for role, reason in self._connection.execute(_ROLES).fetchall():
            why_not = reason or self._try(f"drop role {role}")
            if why_not is None:
                removal.done.append(f"role {role} is dropped")
            else:
                removal.left.append(f"role {role}: {why_not}")

    def _try(self, statement: str) -> str | None:
        """Runs what this role may lack the right for; returns why it was not done."""
        try:
            with self._connection.transaction():
                self._execute(statement)
        except (errors.DependentObjectsStillExist, errors.InsufficientPrivilege, errors.CheckViolation) as exc:
            return str(exc.diag.message_primary)
        return None

    # ── Small questions ──────────────────────────────────────────────────────────────────────────────────────────────

    def _exists(self, table: str) -> bool:
        query = "select to_regclass(%s) is not null"
        return self._connection.execute(query, [f"public.{table}"]).fetchone() == (True,)

    def _names(self, query: str, *parameters: object) -> list[str]:
        return [str(name) for (name,) in self._connection.execute(query.encode(), parameters or None)]

    def _execute(self, statement: str) -> None:
        self._connection.execute(statement.encode(self._connection.info.encoding))


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _literals(texts: list[str]) -> str:
    return ", ".join(sql.Literal(text).as_string() for text in texts)
