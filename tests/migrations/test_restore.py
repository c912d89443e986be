"""A dump is restored without roles, owners, rights or comments: it is told, and migrate puts everything in force."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from consumer.adapters.postgres.migrations import migrator
from consumer.adapters.postgres.operating.audit import audit
from consumer.adapters.shipped_files import roles_script
from consumer.embedded_postgres.server import EmbeddedPostgres, find_binaries
from tests.migrations.databases import OWNER, Database, catalogue, make_application_roles, make_role
from tests.migrations.platform import database_on
from tests.migrations.restores import dump, restore_custom, restore_plain
from tests.servers import Server, newest_binaries, running
from tests.servers import tested_majors as majors

OPTIONS = {
    "everything": (),
    "no-owner": ("--no-owner",),
    "no-acl": ("--no-acl",),
    "neither": ("--no-owner", "--no-acl"),
    "nothing": ("--no-owner", "--no-acl", "--no-comments"),
}
OPEN_BY_DEFAULT = (
    "create role stranger nologin",
    "alter default privileges grant all on tables to anon, authenticated, stranger",
    "alter default privileges grant all on functions to anon, stranger",
    "alter default privileges grant all on schemas to stranger",
    "alter default privileges grant all on types to stranger",
)
ROUTE = (
    "insert into public.webhook_events (channel, type, event_id) values ('tiktok', 'message', 'late')",
    "select router.route_batch(10)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A server whose roles a test makes and drops, and dumps of one installation on another server."""

    server: Server
    plain: dict[str, bytes]
    custom: bytes

    def drop_roles(self) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute("drop schema if exists elsewhere")
            for (role,) in connection.execute("select rolname from pg_roles where not rolsuper and rolname !~ '^pg_'"):
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.fixture(scope="module", params=majors(), ids=lambda major: f"pg{major}")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    binaries = find_binaries(major=request.param)
    if not (binaries.folder / "pg_dump").exists():
        pytest.skip("no pg_dump of this version")
    with running(binaries) as server:
        make_roles(server)
        with database_on(server) as source:
            source.run(roles_script())
            migrator.migrate(source.owned)
            source.run(
                "select ingest_webhook_event('tiktok', 'message', 'a', 'b', 'c', 'd', null, null, null, null)",
                "select route_unrouted_events()",
            )
            plain = {name: dump(source, *options) for name, options in OPTIONS.items()}
            custom = dump(source, "--format=custom")
        found = Cluster(server=server, plain=plain, custom=custom)
        found.drop_roles()
        yield found


@pytest.fixture(autouse=True)
def without_roles(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.drop_roles()


def make_roles(server: EmbeddedPostgres) -> None:
    make_application_roles(server)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create role webhook_router_service nologin")


def restore(cluster: Cluster, database: Database, options: str, way: str, *, dsn: str) -> None:
    if way == "plain":
        restore_plain(database, cluster.plain[options], dsn=dsn)
    else:
        restore_custom(database, cluster.custom, *OPTIONS[options], dsn=dsn)


def is_right(database: Database, reference: Database) -> None:
    """The same catalogue as a fresh installation's, and everybody can do what they should, and nothing else."""
    assert migrator.check(database.admin) == []
    assert [row for row in audit(database.admin).rows if row.required and not row.ok] == []
    # The owner that the dump came from is one of those to whom the application may have given rights on the public API.
    left = {row for row in catalogue(database) - catalogue(reference) if str(row[2]).startswith(f"{OWNER} EXECUTE")}
    assert catalogue(database) - left == catalogue(reference)
    make_role(database.server, "my_service", "login in role webhook_router_service")
    database.run(f"grant connect on database {database.name} to my_service")
    with psycopg.connect(database.server.dsn(database.name, user="my_service"), autocommit=True) as service:
        database.run(ROUTE[0])
        service.execute(ROUTE[1])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute("select from public.messages")
    assert database.value("select count(*) from messages", role="authenticated") == 2
    assert database.value("select route_unrouted_events()", role="anon") == 0


@pytest.mark.parametrize("by", ["superuser", "owner"])
@pytest.mark.parametrize("options", OPTIONS)
def test_with_the_roles(cluster: Cluster, options: str, by: str) -> None:
    """Whatever the dump left out: afterwards it is as if it had been installed there."""
    make_roles(cluster.server)
    owner = "postgres" if by == "superuser" and "--no-owner" in OPTIONS[options] else OWNER
    way = "custom" if (by == "owner") == (cluster.server.major == newest_binaries().major) else "plain"
    with database_on(cluster.server, owner=owner) as database, database_on(cluster.server, owner=owner) as reference:
        restore(cluster, database, options, way, dsn=database.admin if by == "superuser" else database.owned)
        if (by, options) != ("superuser", "everything"):
            assert len(migrator.check(database.admin)) >= 1
            assert not audit(database.admin).ok
        done = migrator.migrate(database.admin if by == "superuser" else database.owned)
        assert done.changed is ((by, options) != ("superuser", "everything"))
        reference.run(roles_script())
        migrator.migrate(reference.admin if owner == "postgres" else reference.owned)
        is_right(database, reference)


@pytest.mark.parametrize("options", OPTIONS)
def test_without_the_roles(cluster: Cluster, options: str) -> None:
    """They are made where they are needed; those of the application get what is theirs as soon as they are there."""
    way = "custom" if cluster.server.major == newest_binaries().major else "plain"
    with (
        database_on(cluster.server, owner="postgres") as database,
        database_on(cluster.server, owner="postgres") as reference,
    ):
        restore(cluster, database, options, way, dsn=database.admin)
        assert any("role webhook_router_api is missing" in line for line in migrator.check(database.admin))
        assert not audit(database.admin).ok
        assert migrator.migrate(database.admin).rights
        migrator.migrate(reference.admin)
        assert migrator.check(database.admin) == []
        assert catalogue(database) == catalogue(reference)

        with psycopg.connect(cluster.server.dsn(), autocommit=True) as connection:
            for role in ("anon", "authenticated", "webhook_router_service"):
                connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
        migrator.migrate(database.admin)
        migrator.migrate(reference.admin, service=True)
        is_right(database, reference)


@pytest.mark.parametrize("options", ["no-acl", "neither", "nothing"])
def test_where_everything_is_open_by_default(cluster: Cluster, options: str) -> None:
    """What a restored table or function has been given by default privileges is taken back."""
    make_roles(cluster.server)
    owner = OWNER if options == "no-acl" else "postgres"
    with database_on(cluster.server, owner=owner) as database, database_on(cluster.server, owner=owner) as reference:
        database.run(*OPEN_BY_DEFAULT)
        reference.run(*OPEN_BY_DEFAULT[1:])
        restore(cluster, database, options, "plain", dsn=database.admin)
        assert database.value("select has_table_privilege('anon', 'public.contacts', 'delete')")
        found = audit(database.admin)
        assert any(row.name == "public.contacts" and "anon has the rights" in row.detail for row in found.rows)
        migrator.migrate(database.admin)
        migrator.migrate(reference.admin if owner == "postgres" else reference.owned, service=True)
        is_right(database, reference)
        for one in (database, reference):
            one.run("drop owned by stranger")


def test_what_was_decided_holds(cluster: Cluster) -> None:
    """A dump without rights does not bring back what migrate --no-public-api has taken away."""
    make_roles(cluster.server)
    with database_on(cluster.server) as source, database_on(cluster.server) as database:
        migrator.migrate(source.owned, public_api=False)
        restore_plain(database, dump(source, "--no-acl", "--no-owner"), dsn=database.owned)
        migrator.migrate(database.owned)
        for role in ("anon", "authenticated"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                database.run("select public.route_unrouted_events()", role=role)
        assert catalogue(database) == catalogue(source)
