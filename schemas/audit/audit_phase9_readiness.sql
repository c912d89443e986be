-- Readiness audit: what webhook-router needs of a database, a row each. Only reads, on any database, as often as wanted:
--   psql -f audit_phase9_readiness.sql, or `webhook-router audit`
-- returns: kind, name, required, ok, detail. Ready when every required row is ok; the others inform.
-- Nothing here names a table directly: one that is missing is a row of the result, not an error.

with wanted_tables (name) as (
    values ('contacts'), ('contact_channels'), ('conversations'), ('messages'), ('message_analysis'), ('webhook_events')
), tables as (
    select w.name, c.oid, o.rolname as owner, o.rolsuper or o.rolbypassrls as owner_is_free, c.relrowsecurity,
           c.relforcerowsecurity
    from wanted_tables w
    left join pg_class c on c.oid = to_regclass('public.' || w.name) and c.relkind = 'r'
    left join pg_roles o on o.oid = c.relowner
), wanted_functions (name, arguments, names, result, required) as (
    values ('ingest_webhook_event', 'text, text, text, text, text, text, timestamptz, text, uuid, jsonb',
            'p_channel, p_type, p_event_id, p_author_id, p_author_name, p_content, p_event_date, p_post_id, '
            'p_conversation_id, p_raw_payload', 'jsonb', true),
           ('route_webhook_event', 'text, text', 'p_channel, p_event_id', 'jsonb', true),
           ('route_unrouted_events', 'text, integer', 'p_channel, p_limit', 'integer', true),
           ('analyze_message_simple', 'uuid', 'p_message_id', 'jsonb', true),
           ('ingest_route_analyze', 'text, text, text, text, text, text, timestamptz, jsonb',
            'p_channel, p_type, p_event_id, p_author_id, p_author_name, p_content, p_event_date, p_raw_payload', 'jsonb',
            false),
           ('ingest_instagram_webhook', 'jsonb', 'p_body', 'integer', false),
           ('ai_reply_template', 'uuid', 'p_message_id', 'text', false),
           ('auto_reply_stub', 'uuid', 'p_message_id', 'uuid', false)
), functions as (
    select w.name, w.arguments, w.names, w.required, w.result, p.oid, p.prosecdef, p.proconfig, p.proacl, p.proowner,
           array_to_string(p.proargnames[1 : p.pronargs], ', ') as found_names,
           format_type(p.prorettype, null) as found_result, pg_get_function_arguments(p.oid) as found_arguments,
           p.prorettype = w.result::regtype and not p.proretset as returns_it
    from wanted_functions w
    left join pg_proc p on p.oid = to_regprocedure(format('public.%I(%s)', w.name, w.arguments))
), wanted_keys (table_name, columns, may_have) as (
    -- may_have: a predicate that the key may have, without quotes; it may do without.
    values ('contact_channels', array['channel', 'external_id'], null),
           ('messages', array['channel', 'provider_message_id'], '(provider_message_id IS NOT NULL)'),
           ('message_analysis', array['message_id'], null),
           ('webhook_events', array['channel', 'event_id'], null)
), keys as (
    select w.table_name, w.columns, x.relname as found
    from wanted_keys w
    left join tables t on t.name = w.table_name
    left join lateral (
        select c.relname
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        where i.indrelid = t.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indexprs is null
          and (i.indpred is null or replace(pg_get_expr(i.indpred, i.indrelid), '"', '') = w.may_have)
          and i.indnkeyatts = cardinality(w.columns)
          and (select array_agg(a.attname::text order by a.attname)
               from unnest(i.indkey::smallint[]) with ordinality as k (attnum, position)
               join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
               where k.position <= i.indnkeyatts) = (select array_agg(c order by c) from unnest(w.columns) as c)
        order by c.relname
        limit 1
    ) x on true
), wanted_indexes (name, serves) as (
    values ('router_ready_by_event_date', 'route_unrouted_events'),
           ('router_ready_by_arrival', 'the service'),
           ('router_parked_by_next_attempt', 'further attempts'),
           ('router_threads', 'conversations without a contact')
), wanted_lookups (table_name, column_name) as (
    values ('conversations', 'contact_id'), ('messages', 'conversation_id'), ('contact_channels', 'contact_id')
), lookups as (
    select w.table_name, w.column_name, x.relname as found
    from wanted_lookups w
    join tables t on t.name = w.table_name
    left join lateral (
        select c.relname
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        join pg_am m on m.oid = c.relam
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = t.oid and a.attname = w.column_name and m.amname = 'btree' and i.indpred is null
          and i.indisvalid
        order by c.relname
        limit 1
    ) x on true
), private_functions as (
    select p.oid, p.prosecdef, p.proconfig, p.proacl, p.proowner, l.lanname, p.prorettype
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace = to_regnamespace('router')
), deviations (kind, oid, what) as (
    select 'public', f.oid, 'is no security definer' from functions f where not f.prosecdef
    union all
    select 'public', f.oid, 'belongs to ' || f.proowner::regrole
    from functions f
    where f.oid is not null and f.proowner is distinct from to_regrole('webhook_router_api')
    union all
    select 'public', f.oid, 'has no pinned search_path'
    from functions f
    where f.oid is not null and not exists (select from unnest(f.proconfig) c where c like 'search_path=%')
    union all
    select 'public', f.oid, 'may be called by everybody (PUBLIC)'
    from functions f, lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
    where f.oid is not null and a.grantee = 0
    union all
    select 'router', f.oid, 'belongs to ' || f.proowner::regrole
    from private_functions f
    join pg_class e on e.oid = to_regclass('public.webhook_events')
    where f.proowner <> e.relowner
    union all
    -- One line of SQL that runs with its caller's rights is written into the query that calls it, unless it has settings,
    -- and a trigger with settings makes every insert look its names up anew: it writes its own names out instead.
    select 'router', f.oid, 'has no pinned search_path'
    from private_functions f
    where (f.prosecdef or f.lanname <> 'sql' and f.prorettype <> 'trigger'::regtype)
      and not exists (select from unnest(f.proconfig) c where c like 'search_path=%')
    union all
    select 'router', f.oid, 'may be called by everybody (PUBLIC)'
    from private_functions f, lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
    where a.grantee = 0
), filling_triggers as (
    -- Row triggers (bit 1) before (bit 2) an insert (bit 4): they may fill any column.
    select distinct g.tgrelid
    from pg_trigger g
    where not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype & 7 = 7
), policies as (
    -- Those that hold for the role with whose rights routing writes.
    select p.polrelid, p.polpermissive, p.polcmd,
           coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') = 'true'
           and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true' as is_open
    from pg_policy p
    join pg_class e on e.oid = to_regclass('public.webhook_events')
    where 0 = any (p.polroles)
       or exists (select from unnest(p.polroles) as r (role) where r.role <> 0 and pg_has_role(e.relowner, r.role, 'usage'))
), installation as (
    -- What the last migration was told. The table may be missing or closed to this role: see "events" below.
    select coalesce(i.word, 'true') = 'true' as wants_doorbell
    from (
        select case when exists (select from pg_class c
                                 where c.relnamespace = to_regnamespace('router') and c.relname = 'installation'
                                   and has_schema_privilege(c.relnamespace, 'usage') and has_table_privilege(c.oid, 'select'))
                    then 'select array_to_tsvector(array[i.doorbell::text]) from router.installation i'
                    else 'select ''''::tsvector' end as query
    ) q
    left join lateral ts_stat(q.query) i on true
), report (position, kind, name, required, ok, detail) as (
    select 10, 'table', 'public.' || t.name, true, t.oid is not null,
           case when t.oid is null then 'missing' else 'owner ' || t.owner end
    from tables t

    union all
    select 20, 'column', 'public.webhook_events.routed_at', true, coalesce(c.atttypid = 'timestamptz'::regtype, false),
           case when c.atttypid is null then 'missing' else format_type(c.atttypid, null) end
    from (values ('routed_at')) as w (name)
    left join pg_attribute c on c.attrelid = to_regclass('public.webhook_events') and c.attname = w.name
                            and not c.attisdropped

    union all
    select 30, case when f.required then 'function' else 'optional function' end,
           format('public.%s(%s)', f.name, f.arguments), f.required,
           coalesce(f.found_names = f.names and f.returns_it, false),
           case when f.oid is null then 'missing'
                when f.found_names = f.names and f.returns_it then f.found_arguments
                else format('is (%s) returns %s; wanted (%s) returns %s', f.found_arguments, f.found_result, f.names,
                            f.result) end
    from functions f

    union all
    select 31, 'overload', p.oid::regprocedure::text, false, false,
           'stands beside the function of this name that callers know: a call that both could answer is an error, '
           'and then this one must be dropped'
    from wanted_functions w
    join pg_proc p on p.proname = w.name and p.pronamespace = 'public'::regnamespace
    where p.oid is distinct from to_regprocedure(format('public.%I(%s)', w.name, w.arguments))
      and to_regprocedure(format('public.%I(%s)', w.name, w.arguments)) is not null

    union all
    select 40, 'unique key', format('public.%s (%s)', k.table_name, array_to_string(k.columns, ', ')), true,
           k.found is not null, coalesce(k.found, 'missing: nothing tells a redelivery from a new event')
    from keys k

    union all
    select 50, 'index', 'public.' || w.name, true, coalesce(i.indisvalid, false),
           case when i.indexrelid is null then 'missing; for ' || w.serves
                when not i.indisvalid then 'invalid (its build was interrupted); for ' || w.serves
                else 'for ' || w.serves end
    from wanted_indexes w
    left join pg_index i on i.indexrelid = to_regclass('public.' || w.name)

    union all
    select 51, 'index', format('%I.%I', n.nspname, c.relname), true, false,
           'invalid: it costs every write and serves nobody'
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    where not i.indisvalid and n.nspname = 'public' and starts_with(c.relname, 'router_')
      and c.relname not in (select w.name from wanted_indexes w)

    union all
    select 52, 'look-up index', format('public.%s (%s)', l.table_name, l.column_name), false, l.found is not null,
           coalesce(l.found, 'missing: each event reads the whole table')
    from lookups l

    union all
    select 60, 'doorbell', 'public.webhook_events', true,
           case when i.wants_doorbell then coalesce(t.tgenabled in ('O', 'A'), false) else t.oid is null end,
           case when not i.wants_doorbell and t.oid is null then 'off by choice: the service polls'
                when not i.wants_doorbell then 'off by choice, but the trigger is there'
                when t.oid is null then 'missing: the service only polls'
                when t.tgenabled in ('O', 'A') then 'wakes the service at each commit'
                else 'disabled: the service only polls' end
    from (values ('webhook_router_doorbell')) as w (name)
    cross join installation i
    left join pg_trigger t on t.tgrelid = to_regclass('public.webhook_events') and t.tgname = w.name

    union all
    select 70, 'rights', g.kind || ' functions', true, g.present and d.what is null,
           case when not g.present then 'missing'
                else coalesce(d.what, 'owners, search_path and grants as they should be') end
    from (select 'public' as kind, exists (select from functions f where f.oid is not null) as present
          union all
          select 'router', exists (select from private_functions)) g
    left join (
        select x.kind, string_agg(format('%s %s', x.oid::regprocedure, x.what), '; ' order by x.oid::regprocedure::text) as what
        from deviations x
        group by x.kind
    ) d on d.kind = g.kind

    union all
    select 71, 'row security', 'public.' || t.name, t.relforcerowsecurity and not p.lets_through, p.lets_through,
           case when not t.relforcerowsecurity then 'on: the owner, as whom routing writes, is exempt'
                when p.lets_through then format('forced, with policies that let %s through, as whom routing writes', t.owner)
                else format('forced: it hides rows from %s, as whom routing writes and who needs a policy for all of them',
                            t.owner) end
    from tables t
    cross join lateral (
        select not t.relforcerowsecurity
               or not exists (select from policies p where p.polrelid = t.oid and not p.polpermissive and not p.is_open)
                  and not exists (
                      select
                      from unnest(array['r', 'a', 'w']) as c (command)
                      where not exists (select from policies p
                                        where p.polrelid = t.oid and p.polpermissive and p.is_open
                                          and p.polcmd in ('*', c.command))
                  ) as lets_through
    ) p
    where t.relrowsecurity and not t.owner_is_free

    union all
    select 80, 'mandatory column', format('public.%s.%s', t.name, a.attname), f.tgrelid is null, false,
           case when f.tgrelid is null then 'not null without a default: neither webhook-router fills it nor a trigger'
                else 'not null without a default: webhook-router does not fill it, so a trigger must' end
    from tables t
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and a.attnotnull
                       and not a.atthasdef and a.attidentity = ''
    join pg_type y on y.oid = a.atttypid and y.typdefault is null
    left join filling_triggers f on f.tgrelid = t.oid
    where (t.name, a.attname) not in (
        ('contacts', 'id'), ('contacts', 'full_name'), ('contact_channels', 'contact_id'), ('contact_channels', 'channel'),
        ('contact_channels', 'external_id'), ('contact_channels', 'display_name'), ('contact_channels', 'is_primary'),
        ('conversations', 'id'), ('conversations', 'contact_id'), ('conversations', 'channel'),
        ('conversations', 'channel_conversation_id'), ('conversations', 'status'), ('conversations', 'last_message_at'),
        ('messages', 'id'), ('messages', 'conversation_id'), ('messages', 'contact_id'), ('messages', 'channel'),
        ('messages', 'direction'), ('messages', 'content_text'), ('messages', 'provider_message_id'),
        ('messages', 'sent_at'), ('messages', 'metadata'), ('message_analysis', 'message_id'),
        ('message_analysis', 'intent'), ('message_analysis', 'sentiment'), ('message_analysis', 'confidence'),
        ('message_analysis', 'needs_escalation'), ('webhook_events', 'channel'), ('webhook_events', 'type'),
        ('webhook_events', 'event_id'), ('webhook_events', 'author_id'), ('webhook_events', 'author_name'),
        ('webhook_events', 'content'), ('webhook_events', 'event_date'), ('webhook_events', 'post_id'),
        ('webhook_events', 'conversation_id'), ('webhook_events', 'raw_payload')
    )

    union all
    select 90, 'application trigger', format('public.%s.%s', t.name, g.tgname), false, true,
           format('%s, calls %s with the rights of %s', case g.tgenabled when 'D' then 'disabled' else 'enabled' end,
                  p.oid::regprocedure,
                  case when p.prosecdef then p.proowner::regrole::text else 'whoever writes' end)
    from tables t
    join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal and g.tgname <> 'webhook_router_doorbell'
    join pg_proc p on p.oid = g.tgfoid

    union all
    -- The one thing that must be read from a table, which may be missing or closed to this role. So the query is a text,
    -- and ts_stat, which runs such texts, hands the count on as its only "word".
    select 100, 'events', 'unrouted', false, u.word is not null,
           coalesce(u.word, 'unknown: the table or its column is missing, or this role may not read it')
    from (
        select case when coalesce(has_table_privilege(to_regclass('public.webhook_events'), 'select'), false)
                         and exists (select from pg_attribute a
                                     where a.attrelid = to_regclass('public.webhook_events') and a.attname = 'routed_at'
                                       and not a.attisdropped)
                    then 'select array_to_tsvector(array[count(*)::text]) from public.webhook_events where routed_at is null'
                    else 'select ''''::tsvector' end as query
    ) q
    left join lateral ts_stat(q.query) u on true
)
select r.kind, r.name, r.required, r.ok, r.detail
from report r
order by r.position, r.name;
