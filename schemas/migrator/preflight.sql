-- What the migrating role lacks, each with the statement that fixes it. It only reads; an empty database has no problems
-- beyond the rights to create. What is wrong with the schema, whoever asks, is in obstacles.sql.
-- returns: problem, remedy (SQL, or advice where there is no statement)

with me as (
    select r.oid, r.rolname, r.rolsuper, r.rolcreaterole, r.rolinherit,
           current_setting('server_version_num')::integer as version,
           case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end as becomes
    from pg_roles r
    where r.rolname = current_user
), wanted_tables (table_name) as (
    values ('contacts'), ('contact_channels'), ('conversations'), ('messages'), ('message_analysis'), ('webhook_events'),
           ('message_delivery'), ('message_reactions'), ('message_revisions')
), wanted_functions (name, arguments) as (
    values ('ingest_webhook_event', 'text, text, text, text, text, text, timestamptz, text, uuid, jsonb'),
           ('route_webhook_event', 'text, text'),
           ('route_unrouted_events', 'text, integer'),
           ('analyze_message_simple', 'uuid'),
           ('ingest_route_analyze', 'text, text, text, text, text, text, timestamptz, jsonb'),
           ('ingest_instagram_webhook', 'jsonb'),
           ('ai_reply_template', 'uuid'),
           ('auto_reply_stub', 'uuid')
), tables as (
    select t.table_name, c.oid, c.relowner, o.rolname as owner, o.rolsuper or o.rolbypassrls as owner_is_free,
           t.table_name = 'webhook_events' as is_events
    from wanted_tables t
    join pg_class c on c.oid = to_regclass('public.' || t.table_name) and c.relkind = 'r'
    join pg_roles o on o.oid = c.relowner
), found_functions as (
    select w.name, p.oid::regprocedure::text as signature, o.rolname as owner
    from wanted_functions w
    join pg_proc p on p.oid = to_regprocedure(format('public.%I(%s)', w.name, w.arguments))
    join pg_roles o on o.oid = p.proowner
), service as (
    -- The service's login has been given to the wrong command: nothing of what the owner may do is to be granted to it.
    select me.rolname, coalesce(t.owner, d.rolname) as owner
    from me
    join pg_database b on b.datname = current_database()
    join pg_roles d on d.oid = b.datdba
    left join tables t on t.is_events
    where not me.rolsuper and pg_has_role(me.oid, to_regrole('webhook_router_service')::oid, 'member')
      and not pg_has_role(me.oid, coalesce(t.relowner, b.datdba), 'member')
), lacking (problem, remedy) as (
select 'the server is a read-only standby', 'connect to the primary'
where pg_is_in_recovery()

union all
select format('role "webhook_router_api" is missing, and "%s" may not make roles', me.rolname),
       format('create role webhook_router_api nologin noinherit; grant webhook_router_api to %I;', me.rolname)
from me
where to_regrole('webhook_router_api') is null and not me.rolsuper and not me.rolcreaterole

union all
select format('"%s" may not act as role "webhook_router_api", which owns the public functions', me.rolname),
       format('grant webhook_router_api to %I%s;', me.rolname,
              case when me.version < 160000 then '' else ' with inherit true, set true' end)
from me
join pg_roles a on a.rolname = 'webhook_router_api'
where not (pg_has_role(a.oid, 'usage') and pg_has_role(a.oid, me.becomes))
  and not case when me.version < 160000 then me.rolcreaterole and me.rolinherit
               else pg_has_role(a.oid, 'member with admin option') end

union all
select format('"%s" does not inherit the rights of the roles it is a member of', me.rolname),
       format('alter role %I inherit;', me.rolname)
from me
where me.version < 160000 and not me.rolsuper and not me.rolinherit and to_regrole('webhook_router_api') is null

union all
select format('"%s" may not create the schema "router" in database "%s"', me.rolname, current_database()),
       format('grant create on database %I to %I;', current_database(), me.rolname)
from me
where to_regnamespace('router') is null and not has_database_privilege(current_database(), 'create')

union all
select format('the schema "router" belongs to "%s", which "%s" is no member of', o.rolname, me.rolname),
       format('alter schema router owner to %I;', me.rolname)
from me, pg_namespace n
join pg_roles o on o.oid = n.nspowner
where n.nspname = 'router' and not pg_has_role(o.oid, 'usage')

union all
select format('"%s" may not create in the schema "public", or not pass that right on', me.rolname),
       format('grant create on schema public to %I with grant option;', me.rolname)
from me
where to_regnamespace('public') is not null
  and not has_schema_privilege('public', 'create with grant option')
  -- It is lent to the owner of the public functions, unless that may create there anyway, as every role could before 15.
  and not (has_schema_privilege('public', 'create')
           and (has_schema_privilege('public', 'public', 'create')  -- the first is PUBLIC, the second the schema
                or exists (select from pg_roles a
                           where a.rolname = 'webhook_router_api' and has_schema_privilege(a.oid, 'public', 'create'))))

union all
select format('public.%s belongs to "%s", which "%s" is no member of', t.table_name, t.owner, me.rolname),
       case when t.owner_is_free then format('alter table public.%I owner to %I;', t.table_name, me.rolname)
            else format('connect as %I, or: grant %I to %I;', t.owner, t.owner, me.rolname) end
from me, tables t
left join tables e on e.is_events
where not pg_has_role(t.relowner, 'usage') and (e.oid is null or e.relowner = t.relowner)

union all
select format('function %s belongs to "%s", which "%s" is no member of', f.signature, f.owner, me.rolname),
       format('alter function %s owner to %I;', f.signature, me.rolname)
from found_functions f, me
where f.owner <> 'webhook_router_api' and not pg_has_role(f.owner, 'usage')
)

select format('"%s" is a login of the service, a member of webhook_router_service, which may not change the schema', s.rolname)
           as problem,
       format('use the URL of "%s", or of a superuser', s.owner) as remedy
from service s
union all
select l.problem, l.remedy
from lacking l
where not exists (select from service)
