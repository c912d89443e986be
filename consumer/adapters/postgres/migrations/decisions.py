"""What an operator decides about an installation when migrating; router.installation remembers it."""

from dataclasses import dataclass

from psycopg import sql

from consumer.adapters.postgres.migrations.sql_files import SqlFile

_DOORBELL = sql.SQL(
    "insert into router.installation (doorbell) values ({doorbell})\n"
    '    on conflict ("only") do update set doorbell = excluded.doorbell;\n'
)
# Who is asked for again may call them again, whatever was taken back from them before.
_PUBLIC_API = sql.SQL(
    "insert into router.installation (public_api, callers) values ({public_api}, '{{}}')\n"
    '    on conflict ("only") do update set public_api = excluded.public_api, callers = excluded.callers;\n'
)
_SERVICE = sql.SQL("""do $service$
begin
    if to_regrole('webhook_router_service') is null then
        raise exception 'role "webhook_router_service" is missing'
            using hint = 'Make it: webhook-router migrate --print-roles | webhook-router sql -';
    end if;
    grant usage on schema router to webhook_router_service;
end
$service$;
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """None, or False for `service`: as it was decided before."""

    doorbell: bool | None = None
    """Whether inserting events wakes the service, which a transaction that is to be prepared must not; at first yes."""
    public_api: bool | None = None
    """Whether anon and authenticated may call the public functions; at first yes."""
    service: bool = False
    """Gives the existing role webhook_router_service its rights in this database."""

    def remembered(self) -> SqlFile:
        """SQL for the transaction that puts rights in force, before it does so."""
        parts: list[sql.Composable] = []
        if self.doorbell is not None:
            parts.append(_DOORBELL.format(doorbell=sql.Literal(self.doorbell)))
        if self.public_api is not None:
            parts.append(_PUBLIC_API.format(public_api=sql.Literal(self.public_api)))
        if self.service:
            parts.append(_SERVICE)
        return SqlFile(name="decisions", text=sql.Composed(parts).as_string())
