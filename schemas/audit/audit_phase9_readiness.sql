-- Readiness audit: what webhook-router needs of a database, a row each. Only reads, on any database, as often as wanted:
--   PGOPTIONS='-c search_path=' psql -f audit_phase9_readiness.sql, or `webhook-router audit`, which also compares functions
--   with their files. With a search_path, operators that somebody has put into "public" could take the place of others.
-- returns: kind, name, required, ok, detail. Ready when every required row is ok; the others inform.
-- Nothing here names a table directly: one that is missing is a row of the result, not an error.

with wanted_tables (name) as (
    values ('contacts'), ('contact_channels'), ('conversations'), ('messages'), ('message_analysis'), ('webhook_events')
), tables as (
    select w.name, c.oid, o.rolname as owner, o.rolsuper or o.rolbypassrls as owner_is_free, c.relrowsecurity,
           c.relforcerowsecurity,
           (select k.word
            from pg_class x
            join (values ('p', 'partitioned table'), ('v', 'view'), ('m', 'materialized view'), ('f', 'foreign table'),
                         ('S', 'sequence'), ('i', 'index'), ('I', 'index'), ('c', 'type')) as k (kind, word)
                on k.kind = x.relkind::text
            where x.oid = to_regclass('public.' || w.name)) as instead
    from wanted_tables w
    left join pg_class c on c.oid = to_regclass('public.' || w.name) and c.relkind = 'r'
    left join pg_roles o on o.oid = c.relowner
), wanted_private (name, columns) as (
    -- With their keys and indexes; the first column is the primary key.
    values ('parked_events', array['event_id', 'channel', 'error_code', 'error_message', 'attempts', 'first_parked_at',
                                   'last_parked_at', 'next_attempt_at', 'discarded_at']),
           ('installation', array['only', 'doorbell']),
           ('schema_migrations', array['version', 'name', 'applied_at']),
           ('schema_functions', array['file', 'checksum', 'signature', 'fingerprint']),
           ('deliveries', array['id', 'provider', 'account', 'received_at', 'body', 'is_compressed', 'digest', 'version',
                                'kinds', 'has_unknown', 'subjects', 'processed_at', 'error', 'attempts', 'next_attempt_at']),
           ('deliveries_default', array['id', 'received_at']),
           ('waiting', array['channel', 'atom_id', 'kind', 'target', 'token', 'account', 'person', 'effect', 'received_at',
                             'expires_at', 'attempts', 'error']),
           ('watermarks', array['channel', 'account', 'person', 'status', 'until', 'at', 'received_at']),
           ('referrals', array['channel', 'account', 'person', 'at', 'ord', 'referral', 'message_id', 'received_at']),
           ('silent_edits', array['message_id', 'ord', 'revised_at', 'attachments', 'received_at']),
           ('open_replies', array['message_id', 'channel', 'ref', 'token', 'received_at']),
           ('deleted_messages', array['subject', 'deleted_at']),
           ('kafka_positions', array['group_id', 'topic', 'partition', 'next_offset', 'skipped', 'noted_at']),
           ('erasures', array['id', 'erased_at', 'erased_by', 'gone'])
), wanted_private_indexes (table_name, name) as (
    values ('parked_events', 'parked_events_by_time'), ('parked_events', 'parked_events_discarded'),
           ('parked_events', 'parked_events_in_order'),
           ('deliveries', 'deliveries_by_time'), ('deliveries', 'deliveries_unprocessed'),
           ('deliveries', 'deliveries_unknown'), ('deliveries', 'deliveries_subjects'), ('waiting', 'waiting_by_target'),
           ('waiting', 'waiting_by_token'), ('waiting', 'waiting_by_person'), ('waiting', 'waiting_by_expiry'),
           ('waiting', 'waiting_by_arrival'), ('silent_edits', 'silent_edits_by_arrival'),
           ('watermarks', 'watermarks_by_arrival'), ('referrals', 'referrals_by_message'), ('referrals', 'referrals_by_arrival'),
           ('open_replies', 'open_replies_by_ref'), ('open_replies', 'open_replies_by_token'),
           ('open_replies', 'open_replies_by_arrival'), ('deleted_messages', 'deleted_messages_by_time')
), private_tables as (
    select w.name, w.columns, c.oid
    from wanted_private w
    left join pg_class c on c.relnamespace = to_regnamespace('router') and c.relname = w.name and c.relkind in ('r', 'p')
), wanted_gates (name, for_service) as (
    -- What the public functions wrap, and what the service and its commands call. Their arguments are compared with the files.
    values ('ingest_event', false), ('route_event', false), ('analyze_message', false), ('ingest_route_analyze', false),
           ('ingest_instagram', false), ('compose_reply', false), ('reply', false), ('correct_events', true),
           ('intake_backlog', true), ('deliveries_of', true),
           ('route_batch', true), ('route_due', true), ('route_oldest', true), ('next_event', true), ('route_one', true),
           ('ingest_and_route', true), ('take_records', true), ('note_positions', true), ('noted_positions', true),
           ('skip_record', true), ('backlog', true), ('recent_backlog', true),
           ('ingest_lines', true), ('parked', true), ('retry_parked', true),
           ('discard_parked', true), ('status', true), ('doorbell', true),
           ('explain', true), ('find_events', true), ('effects_told', true),
           ('sweep_waiting', true), ('take_deliveries', true), ('backlog_by_channel', true),
           ('parked_groups', true),
           ('claim_deliveries', true), ('keep_deliveries', true), ('refused_channels', true),
           ('deliveries_kinds', true), ('deliveries_list', true),
           ('prune', true), ('take_due', false), ('drop_taken', false), ('note_pruned', false), ('restore_lines', false),
           ('erase', false), ('person_of', false), ('export_person', false), ('scrub_deliveries', false),
           ('deliveries_troubled', true), ('deliveries_example', true), ('routed_within', true)
), gates as (
    select w.name, w.for_service, array_agg(p.oid) filter (where p.oid is not null) as oids, bool_or(p.prosecdef) as prosecdef
    from wanted_gates w
    left join pg_proc p on p.pronamespace = to_regnamespace('router') and p.proname = w.name and p.prokind = 'f'
    group by w.name, w.for_service
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
), wanted_indexes (name, table_name, serves) as (
    values ('router_ready_by_event_date', 'webhook_events', 'route_unrouted_events'),
           ('router_ready_by_arrival', 'webhook_events', 'the service'),
           ('router_parked_by_next_attempt', 'webhook_events', 'further attempts'),
           ('router_threads', 'conversations', 'conversations without a contact')
), wanted_lookups (table_name, column_name, deletes) as (
    -- deletes: what of the application's is slow to delete without it; null: each event looks something up by it.
    values ('conversations', 'contact_id', null), ('messages', 'conversation_id', null), ('contact_channels', 'contact_id', null),
           ('webhook_events', 'routed_at', null), ('webhook_events', 'conversation_id', 'a conversation'),
           ('messages', 'contact_id', 'a contact')
), lookups as (
    select w.table_name, w.column_name, w.deletes, x.relname as found, t.oid is not null as has_table
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
), providers (provider, channel) as (
    values ('whatsapp', 'whatsapp'), ('instagram', 'instagram'), ('messenger', 'facebook'), ('telegram', 'telegram'),
           ('tiktok', 'tiktok')
), refused as (
    -- As router.refused_channels, by what the constraints say.
    select p.channel, format('constraint %I of public.%s does not allow it', k.conname, t.name) as reason
    from providers p
    cross join (values ('webhook_events'), ('conversations'), ('contact_channels'), ('messages')) as t (name)
    join pg_attribute a on a.attrelid = to_regclass('public.' || t.name) and a.attname = 'channel' and not a.attisdropped
    join pg_constraint k on k.contype = 'c' and (k.conrelid = a.attrelid and a.attnum = any (k.conkey) or k.contypid = a.atttypid)
    cross join lateral (select pg_get_constraintdef(k.oid) as words) d
    where d.words ~ '''(whatsapp|facebook|instagram|tiktok|youtube|webchat|other)''' and d.words !~ '<>|!~|NOT '
      and strpos(d.words, p.channel) = 0
), readable as (
    -- Tables that this role may read. Even a query that is only planned computes what is constant in predicates of
    -- indexes, in statistics and in constraints: to a superuser those are closed that call what is not of the catalogue.
    select n.nspname, c.relname, c.oid
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname = 'router' and c.relname = 'installation' and c.relkind = 'r'
           or n.nspname = 'public' and c.relname = 'webhook_events' and c.relkind = 'r'
           or n.nspname = 'router' and c.relname = 'deliveries' and c.relkind = 'p'
              -- Its partitions have predicates of their own.
              and not exists (select from pg_roles r where r.rolname = current_user and r.rolsuper))
      and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
      and not (exists (select from pg_roles r where r.rolname = current_user and r.rolsuper)
               and exists (
                   select
                   from pg_depend part
                   left join pg_attrdef f on part.classid = 'pg_attrdef'::regclass and f.oid = part.objid
                   left join pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
                   join pg_depend d on d.classid = part.classid and d.objid = part.objid
                   where part.refclassid = 'pg_class'::regclass and part.refobjid = c.oid
                     and (part.classid in ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_statistic_ext'::regclass)
                          or a.attgenerated = 'v')
                     and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)))
), installation as (
    -- What the last migration was told. The table may be missing or closed to this role: see "events" below.
    select coalesce(bool_and(i.word <> 'doorbell=false'), true) as wants_doorbell,
           coalesce(bool_or(i.word = 'service=true'), false) as wants_service
    from (
        select coalesce((select format('select array_to_tsvector(array[%s]) from only router.installation i',
                                       string_agg(format('%L || coalesce(i.%I::text, %L)', a.attname || '=', a.attname, ''), ', '))
                         from readable t
                         join pg_attribute a on a.attrelid = t.oid and a.attname in ('doorbell', 'service')
                                            and not a.attisdropped and a.atttypid = 'boolean'::regtype
                         where t.nspname = 'router'
                         having count(*) > 0),
                        'select ''''::tsvector') as query
    ) q
    left join lateral ts_stat(q.query) i on true
), report (position, kind, name, required, ok, detail) as (
    select 10, 'table', 'public.' || t.name, true, t.oid is not null,
           case when t.oid is not null then 'owner ' || t.owner
                when t.instead is not null then format('is a %s: webhook-router needs a plain table there', t.instead)
                else 'missing' end
    from tables t

    union all
    select 20, 'column', 'public.webhook_events.routed_at', true, coalesce(c.atttypid = 'timestamptz'::regtype, false),
           case when c.atttypid is null then 'missing' else format_type(c.atttypid, null) end
    from (values ('routed_at')) as w (name)
    left join pg_attribute c on c.attrelid = to_regclass('public.webhook_events') and c.attname = w.name
                            and not c.attisdropped

    union all
    select 21, 'own column', format('public.%s.%s', w.table_name, w.name), true,
           coalesce(c.atttypid = w.type::regtype, false),
           case when c.atttypid is null then 'missing' else format_type(c.atttypid, null) end
    from (values ('webhook_events', 'parked_until', 'timestamptz'), ('contact_channels', 'display_name_at', 'timestamptz'),
                 ('webhook_events', 'normalized', 'jsonb'), ('conversations', 'account_id', 'text'),
                 ('webhook_events', 'routed_by', 'text')
         ) as w (table_name, name, type)
    left join pg_attribute c on c.attrelid = to_regclass('public.' || w.table_name) and c.attname = w.name
                            and not c.attisdropped

    union all
    select 21, 'own table', 'public.' || w.name, true, c.oid is not null,
           coalesce('owner ' || c.relowner::regrole, 'missing')
    from (values ('message_delivery'), ('message_reactions'), ('message_revisions')) as w (name)
    left join pg_class c on c.oid = to_regclass('public.' || w.name) and c.relkind = 'r'

    union all
    select 23, 'channel', p.channel, false, r.reasons is null,
           coalesce(r.reasons || ': what ' || p.provider || ' sends is not taken, until the channel is added there',
                    'allowed by all constraints')
    from providers p
    cross join lateral (
        select string_agg(x.reason, '; ' order by x.reason) as reasons from refused x where x.channel = p.channel
    ) r
    where exists (select from tables t where t.name = 'webhook_events' and t.oid is not null)

    union all
    select 22, 'private table', 'router.' || t.name, true, l.what is null, coalesce(l.what, 'with all its columns and indexes')
    from private_tables t
    cross join lateral (
        select case when t.oid is null then 'missing' else (
            select nullif(concat_ws('; ',
                -- The names are complete, so that they can be looked for.
                (select string_agg(format('router.%I.%I is missing', t.name, u.name), '; ')
                 from unnest(t.columns) as u (name)
                 where not exists (select from pg_attribute a
                                   where a.attrelid = t.oid and a.attname = u.name and not a.attisdropped)),
                (select 'key of router.' || t.name || ' is missing'
                 where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary and i.indisvalid)),
                (select string_agg(format('router.%s is missing', x.name), '; ')
                 from wanted_private_indexes x
                 where x.table_name = t.name
                   and not exists (select from pg_index i
                                   join pg_class c on c.oid = i.indexrelid and c.relname = x.name
                                   where i.indrelid = t.oid and i.indisvalid))), '')) end as what
    ) l

    union all
    select 33, 'gate', 'router.' || g.name, true, coalesce(g.prosecdef, false),
           case when g.oids is null then 'missing' when not g.prosecdef then 'is no security definer'
                else 'for ' || case when g.for_service then 'the service' else 'the public functions' end end
    from gates g

    union all
    -- The role belongs to all databases of the server: only where it was given rights must it have all of them.
    select 72, 'rights', 'webhook_router_service', g.asked, g.lacking is null or not g.asked,
           case when not g.asked then 'none in this database; to give it what the service needs: webhook-router migrate '
                                      '--grant-service-role'
                else coalesce('may not call ' || g.lacking, 'may call what the service needs') end
    from pg_roles r
    cross join installation i
    cross join lateral (
        select coalesce(has_schema_privilege(r.oid, to_regnamespace('router')::oid, 'usage'), false) as may_use
    ) u
    cross join lateral (
        select u.may_use or i.wants_service as asked,
               (select string_agg('router.' || x.name, ', ' order by x.name)
                from gates x
                where x.for_service
                  and not (u.may_use and exists (select from unnest(x.oids) as o (oid)
                                                 where has_function_privilege(r.oid, o.oid, 'execute')))) as lacking
    ) g
    where r.rolname = 'webhook_router_service' and to_regnamespace('router') is not null

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
    select 50, 'index', 'public.' || w.name, true,
           coalesce(i.indisvalid and i.indrelid = to_regclass('public.' || w.table_name), false),
           case when i.indexrelid is null then 'missing; for ' || w.serves
                when i.indrelid is distinct from to_regclass('public.' || w.table_name)
                then format('is on %s instead of public.%s; for %s', i.indrelid::regclass, w.table_name, w.serves)
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
    where not i.indisvalid and n.nspname = 'public'
      and c.relname in ('router_conversations_by_contact', 'router_messages_by_conversation', 'router_channels_by_contact',
                        'router_events_by_conversation', 'router_messages_by_contact')

    union all
    select 52, case when l.deletes is null then 'look-up index' else 'deletion index' end,
           -- One for deletions is a choice.
           format('public.%s (%s)', l.table_name, l.column_name), false, l.found is not null or l.deletes is not null and l.has_table,
           coalesce(l.found, case when l.deletes is not null
                                  then format('not built: deleting %s reads the whole table; webhook-router migrate '
                                              '--deletion-indexes builds it, and each event costs more with it', l.deletes)
                                  when l.table_name = 'webhook_events' then 'missing: `status` reads the whole table'
                                  else 'missing: each event reads the whole table' end)
    from lookups l

    union all
    select 60, 'doorbell', 'public.webhook_events', true,
           case when i.wants_doorbell then coalesce(t.tgenabled in ('O', 'A'), false) else t.oid is null end,
           case when not i.wants_doorbell and t.oid is null then 'off by choice: the service polls'
                when not i.wants_doorbell then 'off by choice, but the trigger is there'
                when t.oid is null then 'missing: the service only polls'
                when t.tgenabled in ('O', 'A') then 'wakes the service at each commit'
                else 'disabled: the service only polls; run: alter table public.webhook_events enable trigger '
                     'webhook_router_doorbell;' end
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
           coalesce(u.word,
                    case when coalesce(has_table_privilege(to_regclass('public.webhook_events'), 'select'), false)
                              and not exists (select from readable t where t.nspname = 'public')
                         then 'not counted: no plain table, or to plan the query would run functions with the rights of this '
                              'superuser; use the URL of the owner'
                         else 'unknown: the table or its column is missing, or this role may not read it' end)
    from (
        select case when exists (select
                                 from readable t
                                 join pg_attribute a on a.attrelid = t.oid and a.attname = 'routed_at' and not a.attisdropped
                                 where t.nspname = 'public')
                    then 'select array_to_tsvector(array[count(*)::text]) from only public.webhook_events where routed_at is null'
                    else 'select ''''::tsvector' end as query
    ) q
    left join lateral ts_stat(q.query) u on true

    union all
    -- Counted under this name while no app is told.
    select 101, 'echoes', 'of an app', false, false,
           format('in %s of the latest deliveries: if an application of yours stores what it sends by itself, name its app id in '
                  'WEBHOOK_ROUTER_META_OWN_APP_IDS, or its messages may be there twice', u.word)
    from (
        select case when exists (select from readable t where t.nspname = 'router' and t.relname = 'deliveries')
                    then 'select array_to_tsvector(array[count(*)::text]) from (select d.kinds from router.deliveries d '
                         || 'order by d.received_at desc limit 10000) d where d.kinds ? ''echo_of_app'''
                    else 'select ''''::tsvector' end as query
    ) q
    join lateral ts_stat(q.query) u on u.word <> '0'
)
select r.kind, r.name, r.required, r.ok, r.detail
from report r
order by r.position, r.name;
