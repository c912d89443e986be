"""Functions of the application that those of the public API replace: copies of them, and putting them back.

The copies lie in a table of the tables' owner, so a superuser does not trust them: each has to be the text of that
function and a single statement, the owner's role makes the function, and it is given to nobody whom that role could
not act as.
"""

from dataclasses import dataclass
from typing import Any, Final

from psycopg import errors, sql

from consumer.adapters.postgres.blocking import Connection
from consumer.adapters.postgres.migrations import sessions
from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFiles

SIGNATURES: Final = frozenset(
    {
        "public.ingest_webhook_event(text,text,text,text,text,text,timestamp with time zone,text,uuid,jsonb)",
        "public.route_webhook_event(text,text)",
        "public.route_unrouted_events(text,integer)",
        "public.analyze_message_simple(uuid)",
        "public.ingest_route_analyze(text,text,text,text,text,text,timestamp with time zone,jsonb)",
        "public.ingest_instagram_webhook(jsonb)",
        "public.ai_reply_template(uuid)",
        "public.auto_reply_stub(uuid)",
    }
)

_COPIES: Final = """
    select signature, definition, owner, rights, description, coalesce(extensions, '{}')
    from router.replaced_functions
    order by signature
"""
_GRANTEES: Final = """
    select distinct g.rolname::text
    from pg_proc p
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    left join pg_roles g on g.oid = a.grantee
    where p.oid = to_regprocedure(%s) and (a.grantee = 0 or g.oid is not null)
"""
_ACTS_FOR: Final = """
    select exists (select from pg_roles r, pg_roles o
                   where r.rolname = %s and o.rolname = %s and pg_has_role(r.oid, o.oid, 'usage'))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A function as it was before ours took its place; without a definition an earlier release has kept none."""

    signature: str
    definition: str | None
    owner: str | None
    rights: list[dict[str, Any]] | None
    """Who might execute it: `grantee` (None: PUBLIC) and `grantable`; None: never granted nor revoked."""
    description: str | None
    extensions: list[str]

    @property
    def is_definer(self) -> bool:
        """Whether it ran with the rights of its owner."""
        return "SECURITY DEFINER" in (self.definition or "").partition("\nAS ")[0]

    @property
    def is_whole(self) -> bool:
        """Whether the definition begins as that of this function; `Restoring` sees to it that nothing follows."""
        name = self.signature.partition("(")[0]
        return bool(self.definition and self.definition.startswith(f"CREATE OR REPLACE FUNCTION {name}("))


def to_be_replaced(conninfo: str, *, files: SqlFiles = SHIPPED) -> list[str]:
    """A line for each function of the application that `migrate` will replace.

    Raises:
        Fatal, Transient: as `migrate`.
    """
    with sessions.connected(conninfo) as connection, sessions.reading(connection):
        rows = connection.execute(files.file("migrator", "replaced_functions.sql").text.encode()).fetchall()
    return [
        f"function {signature} of the application will be replaced; its definition and its grants are kept, and "
        "webhook-router uninstall puts them back"
        for (signature,) in rows
    ]


def copies(connection: Connection) -> list[Copy]:
    """All of them; what is no function of the public API is none of ours."""
    rows = connection.execute(_COPIES.encode()).fetchall()
    names = ("signature", "definition", "owner", "rights", "description", "extensions")
    return [Copy(**dict(zip(names, row, strict=True))) for row in rows if row[0] in SIGNATURES]


def acts_for(connection: Connection, role: str, other: str) -> bool:
    """Whether both exist, and the one has the rights of the other."""
    return connection.execute(_ACTS_FOR, [role, other]).fetchone() == (True,)


class Restoring:
    """Puts functions back, in a transaction of a superuser or of somebody who acts for the tables' owner."""

    def __init__(self, connection: Connection, *, me: str, is_super: bool, owner: str) -> None:
        self._connection = connection
        self._me = me
        self._is_super = is_super
        self._owner = owner

    def owner_of(self, copy: Copy) -> str:
        """To whom it will belong: to its former owner, if giving it to him gives nobody a right that he has not."""
        giver = self._owner if self._is_super else self._me
        if copy.owner and acts_for(self._connection, giver, copy.owner):
            return copy.owner
        return self._owner

    def restore(self, wanted: list[Copy]) -> None:
        """Makes them what they were.

        Raises:
            psycopg.Error: as Postgres does.
        """
        self._execute("set local check_function_bodies = off")
        lends = self._is_super and not self._may_create()
        if lends:
            self._execute("grant create on schema public to {}", self._owner)
        for copy in wanted:
            self._restore(copy)
        if lends:
            self._execute("revoke create on schema public from {}", self._owner)

    def _restore(self, copy: Copy) -> None:
        function, owner = copy.signature, self.owner_of(copy)
        if self._exists(function):
            self._execute(f"alter function {function} owner to {{}}", self._owner)
        if self._is_super:
            self._execute("set local role {}", self._owner)
        try:
            with self._connection.transaction():
                self._make(copy)
        except errors.InvalidFunctionDefinition:  # it had fewer defaults, which "or replace" cannot take away
            self._execute(f"drop function {function}")
            self._make(copy)
        if self._is_super:
            self._execute("set local role none")
        if copy.owner and owner != copy.owner:  # nobody else's rights are lent to a text of his
            self._execute(f"alter function {function} security invoker")
        self._execute(f"alter function {function} owner to {{}}", owner)
        self._grant(copy, owner)
        comment = sql.SQL("comment on function {} is {}")
        self._connection.execute(comment.format(sql.SQL(function), sql.Literal(copy.description)))  # type: ignore[arg-type,unused-ignore]
        for extension in copy.extensions:
            self._execute(f"alter function {function} depends on extension {{}}", extension)

    def _make(self, copy: Copy) -> None:
        # With results in the binary format the server takes one statement only.
        self._connection.execute((copy.definition or "").encode(self._connection.info.encoding), binary=True)

    def _grant(self, copy: Copy, owner: str) -> None:
        function = copy.signature
        for (grantee,) in self._connection.execute(_GRANTEES, [function]).fetchall():
            self._execute(f"revoke all on function {function} from {{}}", grantee)
        by_default: list[dict[str, Any]] = [{"grantee": None}, {"grantee": copy.owner}]
        rights = by_default if copy.rights is None else copy.rights
        wanted = [(right["grantee"], bool(right.get("grantable"))) for right in rights]
        if owner != copy.owner and (copy.owner, False) in wanted:
            wanted.append((owner, False))  # as owners have it
        for grantee, grantable in wanted:
            if grantee is None or acts_for(self._connection, grantee, grantee):
                option = " with grant option" if grantable and grantee != owner else ""
                self._execute(f"grant execute on function {function} to {{}}{option}", grantee)

    def _may_create(self) -> bool:
        query = "select has_schema_privilege(%s::name, 'public', 'create')"
        return self._connection.execute(query, [self._owner]).fetchone() == (True,)

    def _exists(self, function: str) -> bool:
        query = "select to_regprocedure(%s) is not null"
        return self._connection.execute(query, [function]).fetchone() == (True,)

    def _execute(self, statement: str, *names: str | None) -> None:
        """A statement with names in it; None is PUBLIC."""
        quoted = [sql.SQL("public") if name is None else sql.Identifier(name) for name in names]
        self._connection.execute(sql.SQL(statement).format(*quoted))  # type: ignore[arg-type,unused-ignore]
