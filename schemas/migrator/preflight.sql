-- What prevents the migrations and cannot be fixed by them, each with the statement that fixes it. It only reads; an empty
-- database has no problems.
-- returns: problem, remedy (SQL, or advice where there is no statement)

with me as (
    select r.oid, r.rolname, r.rolsuper, r.rolcreaterole, r.rolinherit,
           current_setting('server_version_num')::integer as version,
           case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end as becomes
    from pg_roles r
    where r.rolname = current_user
), wanted_columns (table_name, column_name, kind) as (
    values ('contacts', 'id', 'uuid'), ('contacts', 'full_name', 'text'), ('contacts', 'first_name', 'text'),
           ('contacts', 'updated_at', 'timestamptz'),
           ('contact_channels', 'id', 'uuid'), ('contact_channels', 'contact_id', 'uuid'),
           ('contact_channels', 'channel', 'text'), ('contact_channels', 'external_id', 'text'),
           ('contact_channels', 'display_name', 'text'), ('contact_channels', 'is_primary', 'boolean'),
           ('conversations', 'id', 'uuid'), ('conversations', 'contact_id', 'uuid'), ('conversations', 'channel', 'text'),
           ('conversations', 'channel_conversation_id', 'text'), ('conversations', 'status', 'text'),
           ('conversations', 'last_message_at', 'timestamptz'), ('conversations', 'metadata', 'jsonb'),
           ('conversations', 'created_at', 'timestamptz'), ('conversations', 'updated_at', 'timestamptz'),
           ('messages', 'id', 'uuid'), ('messages', 'conversation_id', 'uuid'), ('messages', 'contact_id', 'uuid'),
           ('messages', 'channel', 'text'), ('messages', 'direction', 'text'), ('messages', 'content_text', 'text'),
           ('messages', 'provider_message_id', 'text'), ('messages', 'sent_at', 'timestamptz'),
           ('messages', 'metadata', 'jsonb'),
           ('message_analysis', 'message_id', 'uuid'), ('message_analysis', 'intent', 'text'),
           ('message_analysis', 'sentiment', 'text'), ('message_analysis', 'confidence', 'numeric'),
           ('message_analysis', 'needs_escalation', 'boolean'), ('message_analysis', 'updated_at', 'timestamptz'),
           ('webhook_events', 'id', 'uuid'), ('webhook_events', 'channel', 'text'), ('webhook_events', 'type', 'text'),
           ('webhook_events', 'event_id', 'text'), ('webhook_events', 'author_id', 'text'),
           ('webhook_events', 'author_name', 'text'), ('webhook_events', 'content', 'text'),
           ('webhook_events', 'event_date', 'timestamptz'), ('webhook_events', 'post_id', 'text'),
           ('webhook_events', 'conversation_id', 'uuid'), ('webhook_events', 'raw_payload', 'jsonb'),
           ('webhook_events', 'created_at', 'timestamptz'), ('webhook_events', 'routed_at', 'timestamptz')
), wanted_keys (table_name, columns, may_have) as (
    -- may_have: a predicate that the key may have; it may do without.
    values ('contacts', array['id'], null),
           ('contact_channels', array['channel', 'external_id'], null),
           ('conversations', array['id'], null),
           ('messages', array['id'], null),
           ('messages', array['channel', 'provider_message_id'], '(provider_message_id IS NOT NULL)'),
           ('message_analysis', array['message_id'], null),
           ('webhook_events', array['id'], null),
           ('webhook_events', array['channel', 'event_id'], null)
), wanted_functions (name, arguments, named, result) as (
    values ('ingest_webhook_event', 'text, text, text, text, text, text, timestamptz, text, uuid, jsonb',
            'p_channel,p_type,p_event_id,p_author_id,p_author_name,p_content,p_event_date,p_post_id,p_conversation_id,p_raw_payload',
            'jsonb'),
           ('route_webhook_event', 'text, text', 'p_channel,p_event_id', 'jsonb'),
           ('route_unrouted_events', 'text, integer', 'p_channel,p_limit', 'integer'),
           ('analyze_message_simple', 'uuid', 'p_message_id', 'jsonb'),
           ('ingest_route_analyze', 'text, text, text, text, text, text, timestamptz, jsonb',
            'p_channel,p_type,p_event_id,p_author_id,p_author_name,p_content,p_event_date,p_raw_payload', 'jsonb'),
           ('ingest_instagram_webhook', 'jsonb', 'p_body', 'integer'),
           ('ai_reply_template', 'uuid', 'p_message_id', 'text'),
           ('auto_reply_stub', 'uuid', 'p_message_id', 'uuid')
), present as (
    select t.table_name, c.oid, c.relkind, c.relowner, o.rolname as owner, o.rolsuper or o.rolbypassrls as owner_is_free,
           t.table_name = 'webhook_events' as is_events
    from (select distinct table_name from wanted_columns) t
    join pg_class c on c.oid = to_regclass('public.' || t.table_name)
    join pg_roles o on o.oid = c.relowner
), tables as (
    select * from present where relkind = 'r'
), found_functions as (
    select w.*, p.oid, p.oid::regprocedure::text as signature, p.prokind, o.rolname as owner,
           array_to_string(p.proargnames[1:p.pronargs], ',') as names,
           case when p.proretset then 'setof ' else '' end || format_type(p.prorettype, null) as returns
    from wanted_functions w
    join pg_proc p on p.oid = to_regprocedure(format('public.%I(%s)', w.name, w.arguments))
    join pg_roles o on o.oid = p.proowner
)

select 'the server is a read-only standby' as problem, 'connect to the primary' as remedy
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
select format('public.%s is not an ordinary table', t.table_name),
       'webhook-router needs a plain table there: no view, no partitioned or foreign table'
from present t
where t.relkind <> 'r'

union all
select format('public.%s belongs to "%s", which "%s" is no member of', t.table_name, t.owner, me.rolname),
       case when t.owner_is_free then format('alter table public.%I owner to %I;', t.table_name, me.rolname)
            else format('connect as %I, or: grant %I to %I;', t.owner, t.owner, me.rolname) end
from me, tables t
left join tables e on e.is_events
where not pg_has_role(t.relowner, 'usage') and (e.oid is null or e.relowner = t.relowner)

union all
-- The functions write as the owner of webhook_events, who must be a member of the owners of the other tables.
select format('public.%s belongs to "%s", but public.webhook_events to "%s", with whose rights routing writes',
              t.table_name, t.owner, e.owner),
       format('alter table public.%I owner to %I;', t.table_name, e.owner)
from tables t
join tables e on e.is_events
where not e.owner_is_free and not pg_has_role(e.relowner, t.relowner, 'usage')

union all
select format('column public.%s.%s is missing', t.table_name, w.column_name),
       format('alter table public.%I add column %I %s;', t.table_name, w.column_name, w.kind)
from tables t
join wanted_columns w using (table_name)
where w.column_name <> 'routed_at'
  and not exists (select from pg_attribute a
                  where a.attrelid = t.oid and a.attname = w.column_name and a.attnum > 0 and not a.attisdropped)

union all
select format('column public.%s.%s is of type %s instead of %s', t.table_name, w.column_name,
              format_type(a.atttypid, a.atttypmod), w.kind),
       format('alter table public.%I alter column %I type %s; (this rewrites the table: plan it)', t.table_name,
              w.column_name, w.kind)
from tables t
join wanted_columns w using (table_name)
join pg_attribute a on a.attrelid = t.oid and a.attname = w.column_name and a.attnum > 0 and not a.attisdropped
join pg_type y on y.oid = a.atttypid
where not case w.kind when 'text' then y.typcategory = 'S' when 'numeric' then y.typcategory = 'N'
                      else a.atttypid = w.kind::regtype end

union all
select format('public.%s has no unique key on (%s), by which one event is told from another', t.table_name,
              array_to_string(w.columns, ', ')),
       format('create unique index concurrently %I on public.%I (%s)%s;',
              t.table_name || '_' || array_to_string(w.columns, '_') || '_key', t.table_name,
              array_to_string(w.columns, ', '),
              coalesce(' where ' || btrim(lower(w.may_have collate "C"), '()'), ''))
from tables t
join wanted_keys w using (table_name)
where not exists (select from pg_attribute a  -- a missing column has been reported
                  right join unnest(w.columns) as k (name)
                     on a.attrelid = t.oid and a.attname = k.name and not a.attisdropped
                  where a.attname is null)
  and not exists (
    select from pg_index i
    where i.indrelid = t.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indexprs is null
      and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = w.may_have)
      and i.indnkeyatts = cardinality(w.columns)
      and (select array_agg(a.attname::text order by a.attname)
           from unnest(i.indkey::smallint[]) with ordinality as k (attnum, position)
           join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
           where k.position <= i.indnkeyatts)
          = (select array_agg(c order by c) from unnest(w.columns) as c)
)

union all
select format('function %s returns %s instead of %s, which "create or replace" cannot change', f.signature,
              f.returns, f.result),
       format('drop routine %s;', f.signature)
from found_functions f
where f.returns <> f.result or f.prokind <> 'f'

union all
select format('the arguments of function %s are named %s instead of %s, which "create or replace" cannot change',
              f.signature, coalesce(nullif(f.names, ''), 'nothing'), f.named),
       format('drop function %s;', f.signature)
from found_functions f
where f.names is distinct from f.named and f.returns = f.result and f.prokind = 'f'

union all
select format('function %s belongs to "%s", which "%s" is no member of', f.signature, f.owner, me.rolname),
       format('alter function %s owner to %I;', f.signature, me.rolname)
from found_functions f, me
where f.owner <> 'webhook_router_api' and not pg_has_role(f.owner, 'usage')
