-- What is wrong with the schema itself, whoever asks, and cannot be fixed by the migrations, each with the statement that
-- fixes it: columns, keys, rules, policies and triggers with which routing cannot work. It only reads the catalogue; an
-- empty database has no problems. What the migrating role lacks is in preflight.sql.
-- returns: problem, remedy (SQL, or advice where there is no statement)

with wanted_columns (table_name, column_name, kind, written, lacks) as (
    -- written: by routing or by storing; lacks: the rows for which what is written is null, if there are such rows.
    values ('contacts', 'id', 'uuid', true, null), ('contacts', 'full_name', 'text', true, 'people without a name'),
           ('contacts', 'first_name', 'text', false, null), ('contacts', 'updated_at', 'timestamptz', true, null),
           ('contact_channels', 'id', 'uuid', false, null), ('contact_channels', 'contact_id', 'uuid', true, null),
           ('contact_channels', 'channel', 'text', true, null), ('contact_channels', 'external_id', 'text', true, null),
           ('contact_channels', 'display_name', 'text', true, 'people without a name'),
           ('contact_channels', 'display_name_at', 'timestamptz', true, 'people without a name'),
           ('contact_channels', 'is_primary', 'boolean', true, null),
           ('conversations', 'id', 'uuid', true, null),
           ('conversations', 'contact_id', 'uuid', true, 'events without an author'),
           ('conversations', 'channel', 'text', true, null),
           ('conversations', 'channel_conversation_id', 'text', true, 'every event with an author'),
           ('conversations', 'status', 'text', true, null), ('conversations', 'last_message_at', 'timestamptz', true, null),
           ('conversations', 'metadata', 'jsonb', true, null), ('conversations', 'created_at', 'timestamptz', false, null),
           ('conversations', 'updated_at', 'timestamptz', true, null),
           ('messages', 'id', 'uuid', true, null), ('messages', 'conversation_id', 'uuid', true, null),
           ('messages', 'contact_id', 'uuid', true, 'events without an author'), ('messages', 'channel', 'text', true, null),
           ('messages', 'direction', 'text', true, null), ('messages', 'content_text', 'text', true, 'events without a text'),
           ('messages', 'provider_message_id', 'text', true, null), ('messages', 'sent_at', 'timestamptz', true, null),
           ('messages', 'metadata', 'jsonb', true, null),
           ('message_analysis', 'message_id', 'uuid', true, null), ('message_analysis', 'intent', 'text', true, null),
           ('message_analysis', 'sentiment', 'text', true, null), ('message_analysis', 'confidence', 'numeric', true, null),
           ('message_analysis', 'needs_escalation', 'boolean', true, null),
           ('message_analysis', 'updated_at', 'timestamptz', true, null),
           ('webhook_events', 'id', 'uuid', false, null), ('webhook_events', 'channel', 'text', true, null),
           ('webhook_events', 'type', 'text', true, null), ('webhook_events', 'event_id', 'text', true, null),
           ('webhook_events', 'author_id', 'text', true, 'events without an author'),
           ('webhook_events', 'author_name', 'text', true, 'events without a name'),
           ('webhook_events', 'content', 'text', true, 'events without a text'),
           ('webhook_events', 'event_date', 'timestamptz', true, null),
           ('webhook_events', 'post_id', 'text', true, 'events without a post'),
           ('webhook_events', 'conversation_id', 'uuid', true, 'every event until it is routed'),
           ('webhook_events', 'raw_payload', 'jsonb', true, null), ('webhook_events', 'created_at', 'timestamptz', false, null),
           ('webhook_events', 'routed_at', 'timestamptz', true, 'every event until it is routed'),
           ('webhook_events', 'parked_until', 'timestamptz', true, 'every event that is not parked'),
           ('webhook_events', 'normalized', 'jsonb', true, 'every event that an application has stored'),
           ('webhook_events', 'routed_by', 'text', true, 'every event until it is routed'),
           ('conversations', 'account_id', 'text', true, 'every conversation that is not with one of our accounts alone'),
           ('message_delivery', 'message_id', 'uuid', true, null), ('message_delivery', 'status', 'text', true, null),
           ('message_delivery', 'sent_at', 'timestamptz', true, 'messages that are not sent'),
           ('message_delivery', 'delivered_at', 'timestamptz', true, 'messages that are not delivered'),
           ('message_delivery', 'read_at', 'timestamptz', true, 'messages that are not read'),
           ('message_delivery', 'played_at', 'timestamptz', true, 'messages that are not played'),
           ('message_delivery', 'failed_at', 'timestamptz', true, 'messages that have not failed'),
           ('message_delivery', 'errors', 'jsonb', true, 'messages that have not failed'),
           ('message_reactions', 'message_id', 'uuid', true, null), ('message_reactions', 'actor', 'text', true, null),
           ('message_reactions', 'emoji', 'text[]', true, null), ('message_reactions', 'reacted_at', 'timestamptz', true, null),
           ('message_reactions', 'ord', 'text', true, null),
           ('message_revisions', 'message_id', 'uuid', true, null),
           ('message_revisions', 'revised_at', 'timestamptz', true, null), ('message_revisions', 'ord', 'text', true, null),
           ('message_revisions', 'content_text', 'text', true, 'messages without a text')
), own_columns (table_name, column_name) as (
    -- Made by the migrations where they are missing; null is a state of theirs, which no default may replace.
    values ('contact_channels', 'display_name_at'), ('webhook_events', 'routed_at'), ('webhook_events', 'parked_until'),
           ('webhook_events', 'normalized'), ('conversations', 'account_id'), ('webhook_events', 'routed_by')
), wanted_keys (table_name, columns, may_be_null) as (
    -- may_be_null: a column whose nulls the key may leave out; it may do without.
    values ('contacts', array['id'], null),
           ('contact_channels', array['channel', 'external_id'], null),
           ('conversations', array['id'], null),
           ('messages', array['id'], null),
           ('messages', array['channel', 'provider_message_id'], 'provider_message_id'),
           ('message_analysis', array['message_id'], null),
           ('message_delivery', array['message_id'], null),
           ('message_reactions', array['message_id', 'actor'], null),
           ('message_revisions', array['message_id', 'ord'], null),
           ('webhook_events', array['id'], null),
           ('webhook_events', array['channel', 'event_id'], null)
), wanted_indexes (name, table_name, columns, condition) as (
    values ('router_ready_by_event_date', 'webhook_events', array['event_date', 'id', 'channel'],
            'routed_at is null and parked_until is null'),
           ('router_ready_by_arrival', 'webhook_events', array['created_at', 'id'],
            'routed_at is null and parked_until is null'),
           ('router_parked_by_next_attempt', 'webhook_events', array['parked_until'],
            'routed_at is null and parked_until is not null'),
           ('router_threads', 'conversations', array['channel_conversation_id'], 'channel_conversation_id is not null'),
           ('router_conversations_by_contact', 'conversations', array['contact_id'], null),
           ('router_messages_by_conversation', 'messages', array['conversation_id', 'sent_at'], null),
           ('router_channels_by_contact', 'contact_channels', array['contact_id'], null),
           ('router_events_by_conversation', 'webhook_events', array['conversation_id'], null),
           ('router_messages_by_contact', 'messages', array['contact_id'], null)
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
    select t.table_name, c.oid, c.relkind, c.relowner, o.rolname as owner, c.relrowsecurity, c.relforcerowsecurity,
           c.relreplident, t.table_name = 'webhook_events' as is_events
    from (select distinct table_name from wanted_columns) t
    join pg_class c on c.oid = to_regclass('public.' || t.table_name)
    join pg_roles o on o.oid = c.relowner
), tables as (
    select * from present where relkind = 'r'
), writer as (
    -- Routing writes with the rights of the owner of webhook_events.
    select r.oid, r.rolname, r.rolsuper, r.rolbypassrls
    from tables t
    join pg_roles r on r.oid = t.relowner
    where t.is_events
), columns as (
    select t.table_name, t.oid, w.column_name, w.kind, w.written, w.lacks, a.attnum, a.atttypid, a.attnotnull, a.atthasdef,
           a.attgenerated, a.attidentity, y.typcategory, a.attname is not null as found, o.column_name is not null as is_own,
           case when a.attname is not null then format_type(a.atttypid, a.atttypmod) end as type_name,
           case w.kind when 'text' then y.typcategory = 'S' when 'numeric' then y.typcategory = 'N'
                       else a.atttypid = w.kind::regtype end
           and not (w.column_name = 'routed_by' and a.atttypmod between 5 and 10) as has_kind  -- of fewer than 7 characters
    from tables t
    join wanted_columns w using (table_name)
    left join own_columns o using (table_name, column_name)
    left join pg_attribute a on a.attrelid = t.oid and a.attname = w.column_name and a.attnum > 0 and not a.attisdropped
    left join pg_type y on y.oid = a.atttypid
), found_functions as (
    select w.*, p.oid, format('public.%I(%s)', w.name, w.arguments) as signature, p.prokind, p.proretset,
           array_to_string(p.proargnames[1:p.pronargs], ',') as names,
           p.prokind = 'f' and not p.proretset and p.prorettype = w.result::regtype as returns_it,
           case when p.proretset then 'setof ' else '' end || format_type(p.prorettype, null) as returns
    from wanted_functions w
    join pg_proc p on p.oid = to_regprocedure(format('public.%I(%s)', w.name, w.arguments))
), filling_triggers as (
    -- Row triggers (bit 1) before (bit 2) an insert (bit 4): they may fill any column.
    select distinct g.tgrelid
    from pg_trigger g
    where not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype & 7 = 7
), rules as (
    select t.table_name, r.rulename, case r.ev_type when '2' then 'update' else 'insert' end as event, r.is_instead,
           r.ev_enabled <> 'D' and r.ev_enabled <> 'R' as is_on
    from tables t
    join pg_rewrite r on r.ev_class = t.oid and r.ev_type in ('2', '3')
), published as (
    select t.table_name, t.oid, p.pubname, t.relreplident,
           -- Null where no key tells the subscribers which row is meant.
           (select array_agg(a.attname order by a.attnum)
            from pg_index i
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey::smallint[])
            where i.indrelid = t.oid and i.indisvalid
              and case t.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end) as identity,
           -- Both are of 15 and later.
           case when r.attributes is not null then array(select jsonb_array_elements_text(to_jsonb(l) -> 'attnames')) end
               as listed,
           array(select a.attname
                 from regexp_matches(r.condition, ':varattno ([0-9]+)', 'g') m
                 join pg_attribute a on a.attrelid = t.oid and a.attnum = m[1]::smallint) as filtering,
           to_jsonb(l) ->> 'rowfilter' as row_filter
    from tables t
    join pg_publication_tables l on l.schemaname = 'public' and l.tablename = t.table_name
    join pg_publication p on p.pubname = l.pubname and p.pubupdate
    left join lateral (
        select to_jsonb(x) ->> 'prattrs' as attributes, to_jsonb(x) ->> 'prqual' as condition
        from pg_publication_rel x
        where x.prpubid = p.oid and x.prrelid = t.oid
    ) r on true
    where t.table_name <> 'messages'  -- its rows are never changed
      and exists (select from pg_class c where c.oid = t.oid and c.relpersistence = 'p')
), policies as (
    select t.table_name, t.oid, p.polpermissive, p.polcmd,
           coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') = 'true'
           and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true' as is_open
    from tables t
    cross join writer
    join pg_policy p on p.polrelid = t.oid
    where 0 = any (p.polroles)
       or exists (select from unnest(p.polroles) as r (role) where r.role <> 0 and pg_has_role(writer.oid, r.role, 'usage'))
), hidden as (
    select t.table_name, writer.rolname as writer,
           exists (select from policies p where p.oid = t.oid and not p.polpermissive and not p.is_open) as is_restricted
    from tables t
    cross join writer
    where t.relrowsecurity and t.relforcerowsecurity and not writer.rolsuper and not writer.rolbypassrls
      and (exists (select from policies p where p.oid = t.oid and not p.polpermissive and not p.is_open)
           or exists (select
                      from unnest(array['r', 'a', 'w']) as c (command)
                      where not exists (select from policies p
                                        where p.oid = t.oid and p.polpermissive and p.is_open
                                          and p.polcmd in ('*', c.command))))
), trigger_sources as (
    -- The words of trigger functions that rely on the search_path of whoever writes, without comments and literals.
    select p.oid, format('%I.%I()', n.nspname, p.proname) as signature, x.first_trigger,
           regexp_replace(
               regexp_replace(lower(p.prosrc collate "C"),
                              '--[^' || chr(10) || ']*|/[*]([^*]|[*]+[^*/])*[*]+/|''([^'']|'''')*''', ' ', 'g'),
               'distinct[[:space:]]+from', 'distinct', 'g') as words
    from (
        select g.tgfoid, min(format('public.%I.%I', t.table_name, g.tgname)) as first_trigger
        from tables t
        join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal and g.tgenabled in ('O', 'A')
        where g.tgname <> 'webhook_router_doorbell'
        group by g.tgfoid
    ) x
    join pg_proc p on p.oid = x.tgfoid
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
    where not exists (select from unnest(p.proconfig) as c (setting) where c.setting like 'search_path=%')
      and position('search_path' in p.prosrc) = 0  -- it may set the path itself
      and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
), trigger_words as (
    select s.oid, s.signature, s.first_trigger, 'function' as kind, m[1] as name
    from trigger_sources s
    cross join lateral regexp_matches(s.words, '(?<![a-z0-9_.$"])([a-z_][a-z0-9_$]*)(?=[[:space:]]*[(])', 'g') m
    union
    select s.oid, s.signature, s.first_trigger, 'type', m[1]
    from trigger_sources s
    cross join lateral regexp_matches(s.words, '::[[:space:]]*([a-z_][a-z0-9_$]*)(?![a-z0-9_.$])', 'g') m
    union
    -- A declaration: a name, perhaps "constant", and the type.
    select s.oid, s.signature, s.first_trigger, 'type', m[1]
    from trigger_sources s
    cross join lateral regexp_matches(
        split_part(s.words, 'begin', 1),
        '[a-z_][a-z0-9_$]*[[:space:]]+(?:constant[[:space:]]+)?'
        '([a-z_][a-z0-9_$]*)(?:%rowtype)?[[:space:]]*(?:;|:=|=|default|not null)',
        'g') m
    union
    select s.oid, s.signature, s.first_trigger, 'table', m[1]
    from trigger_sources s
    cross join lateral regexp_matches(
        s.words,
        '(?<![a-z0-9_])(?:from|join|into|update)[[:space:]]+(?:only[[:space:]]+)?([a-z_][a-z0-9_$]*)(?![a-z0-9_.$])',
        'g') m
    where position(m[1] in split_part(s.words, 'begin', 1)) = 0  -- "select ... into variable"
      and s.words !~ ('(?<![a-z0-9_])' || m[1] || '[[:space:]]+as[[:space:]]+(not[[:space:]]+)?(materialized[[:space:]]*)?[(]')
), objects as (
    select 'function' as kind, p.proname as name, p.pronamespace as namespace from pg_proc p
    union all
    select 'type', y.typname, y.typnamespace from pg_type y
    union all
    select 'table', c.relname, c.relnamespace from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f')
), out_of_reach as (
    select w.oid, w.signature, w.first_trigger, w.kind, w.name, min(n.nspname) as schema
    from trigger_words w
    join objects o on o.kind = w.kind and o.name = w.name
    join pg_namespace n on n.oid = o.namespace
    where n.nspname not in ('router', 'information_schema') and not starts_with(n.nspname, 'pg_')
      and not exists (select from pg_get_keywords() k where k.word = w.name and k.catcode <> 'U')
      and not exists (select from objects r
                      join pg_namespace s on s.oid = r.namespace
                      where r.kind = w.kind and r.name = w.name and s.nspname in ('pg_catalog', 'public', 'extensions'))
    group by 1, 2, 3, 4, 5
), wanted_names (table_name, name) as (
    -- Of keys and indexes of the tables that are made where they are missing.
    values ('contacts', 'contacts_whatsapp_phone_key'), ('contacts', 'contacts_email_key'),
           ('contact_channels', 'contact_channels_channel_external_id_key'),
           ('contact_channels', 'contact_channels_contact_id_idx'),
           ('conversations', 'conversations_contact_id_idx'), ('conversations', 'conversations_channel_status_idx'),
           ('conversations', 'conversations_last_message_at_idx'),
           ('messages', 'messages_channel_provider_message_id_key'), ('messages', 'messages_conversation_id_sent_at_idx'),
           ('messages', 'messages_channel_sent_at_idx'), ('message_analysis', 'message_analysis_message_id_key'),
           ('webhook_events', 'webhook_events_channel_event_id_key'),
           ('webhook_events', 'webhook_events_channel_event_date_idx'), ('webhook_events', 'webhook_events_routed_at_idx')
), wanted_references (table_name, column_name, target) as (
    values ('contact_channels', 'contact_id', 'contacts'), ('conversations', 'contact_id', 'contacts'),
           ('messages', 'conversation_id', 'conversations'), ('messages', 'contact_id', 'contacts'),
           ('message_analysis', 'message_id', 'messages'), ('message_delivery', 'message_id', 'messages'),
           ('message_reactions', 'message_id', 'messages'), ('message_revisions', 'message_id', 'messages'),
           ('webhook_events', 'conversation_id', 'conversations')
), strayed as (
    -- Tables with the columns of one that "public" lacks: it was renamed, or the application keeps it in another schema.
    select w.table_name, c.oid, n.nspname, c.relname
    from (select distinct table_name from wanted_columns) w
    join pg_class c on c.relkind in ('r', 'p')
    join pg_namespace n on n.oid = c.relnamespace and n.nspname not in ('router', 'information_schema')
                       and not starts_with(n.nspname, 'pg_')
    where to_regclass('public.' || w.table_name) is null
      and not (n.nspname = 'public' and c.relname in (select table_name from wanted_columns))
      and not exists (
          select
          from (select x.table_name, x.column_name from wanted_columns x
                except select o.table_name, o.column_name from own_columns o
                -- By the few columns that routing needs, somebody's address book would be taken for it.
                union select 'contacts', 'whatsapp_phone') x
          where x.table_name = w.table_name
            and not exists (select from pg_attribute a
                            where a.attrelid = c.oid and a.attname = x.column_name and not a.attisdropped))
      and (n.nspname <> 'public' and c.relname = w.table_name
           -- Copies have the columns too, but no foreign keys, and not the doorbell.
           or c.relkind = 'r'
              and (exists (select
                           from pg_constraint k
                           join present p on p.oid = k.conrelid and k.confrelid = c.oid
                                          or p.oid = k.confrelid and k.conrelid = c.oid
                           where k.contype = 'f')
                   or exists (select from pg_trigger g
                              join pg_proc f on f.oid = g.tgfoid and f.pronamespace = to_regnamespace('router')
                              where g.tgrelid = c.oid and g.tgname = 'webhook_router_doorbell')))
), out_of_reach_by_function as (
    select r.oid, r.signature, r.first_trigger,
           string_agg(format('%s %I.%I', r.kind, r.schema, r.name), ', ' order by r.schema, r.name) as what,
           array_to_string(array_agg(distinct quote_ident(r.schema)), ', ') as schemas
    from out_of_reach r
    group by 1, 2, 3
)

select format('public.%s is not an ordinary table: it is a %s', t.table_name, k.word) as problem,
       format('alter %s public.%I rename to %I;%s -- webhook-router then makes a plain table of that name, and what it is to '
              'know of has to be inserted there',
              case when t.relkind = 'p' then 'table' else k.word end, t.table_name, t.table_name || '_before',
              -- Their names are those that the keys of the new table get.
              (select string_agg(format(' alter index public.%I rename to %I;', i.relname, i.relname || '_before'), ''
                                 order by i.relname)
               from pg_index x
               join pg_class i on i.oid = x.indexrelid
               where x.indrelid = t.oid)) as remedy
from present t
join (values ('p', 'partitioned table'), ('v', 'view'), ('m', 'materialized view'), ('f', 'foreign table'),
             ('S', 'sequence'), ('i', 'index'), ('I', 'index'), ('c', 'type')) as k (kind, word) on k.kind = t.relkind::text

union all
-- An enumeration or a domain has no row in pg_class, and yet a table of its name cannot be made.
select format('type public.%s has the name of a table, which is missing', y.typname),
       format('alter type public.%I rename to %I;', y.typname, y.typname || '_before')
from (select distinct table_name from wanted_columns) w
join pg_type y on y.typname = w.table_name and y.typnamespace = 'public'::regnamespace and y.typrelid = 0
where to_regclass('public.' || w.table_name) is null

union all
select format('public.%s is missing, and %I.%I has its columns: webhook-router works with tables in "public" of these names',
              s.table_name, s.nspname, s.relname),
       concat_ws(' ',
                 case when s.nspname <> 'public' then format('alter table %I.%I set schema public;', s.nspname, s.relname) end,
                 case when s.relname <> s.table_name
                      then format('alter table public.%I rename to %I;', s.relname, s.table_name) end)
from strayed s

union all
select format('public.%s has a name that webhook-router needs for an index of public.%s, which is missing', w.name,
              w.table_name),
       format('alter %s public.%I rename to %I;', case when c.relkind in ('i', 'I') then 'index' else 'table' end, w.name,
              w.name || '_before')
from wanted_names w
join pg_class c on c.oid = to_regclass('public.' || w.name)
where to_regclass('public.' || w.table_name) is null
  and not exists (select from strayed s where s.table_name = w.table_name)

union all
select format('foreign key %I of public.%s (%s) refers to %s instead of public.%s', k.conname, w.table_name, w.column_name,
              k.confrelid::regclass, w.target),
       format('alter table public.%I drop constraint %I;', w.table_name, k.conname)
from wanted_references w
join tables t using (table_name)
join pg_attribute a on a.attrelid = t.oid and a.attname = w.column_name
join pg_constraint k on k.conrelid = t.oid and k.contype = 'f' and k.conkey = array[a.attnum]
where k.confrelid is distinct from to_regclass('public.' || w.target)
  and k.conparentid = 0
  and not exists (select from strayed s where s.oid = k.confrelid)

union all
select format('column public.%s.%s is missing', c.table_name, c.column_name),
       format('alter table public.%I add column %I %s;', c.table_name, c.column_name, c.kind)
from columns c
where not c.found and not c.is_own

union all
select format('column public.%s.%s is of type %s instead of %s', c.table_name, c.column_name, c.type_name, c.kind),
       -- What an application keeps in a column of that name in another form is its own, and none of our words.
       case when c.column_name = 'routed_by'
            then format('alter table public.%I rename column %I to %I; alter table public.%I add column %I text;', c.table_name,
                        c.column_name, c.column_name || '_before', c.table_name, c.column_name)
            else format('alter table public.%I %salter column %I type %s using %s%s; -- this rewrites the table: plan it',
                        c.table_name,
                        case when c.atthasdef and (c.is_own or c.kind = 'uuid')
                             then format('alter column %I drop default, ', c.column_name) else '' end,
                        c.column_name, c.kind,
                        case when not c.is_own or c.typcategory in ('D', 'S') then format('%I::%s', c.column_name, c.kind)
                             when c.typcategory = 'N' then format('to_timestamp(%I)', c.column_name)
                             when c.typcategory = 'B' then format('case when %I then now() end', c.column_name)
                             else format('null::%s', c.kind) end,
                        case when c.atthasdef and c.kind = 'uuid' and c.column_name = 'id'
                             then ', alter column id set default gen_random_uuid()' else '' end) end
from columns c
where not c.has_kind and c.attgenerated = ''  -- a generated one is reported below: its values cannot be kept as they are

union all
select format('column public.%s.%s is generated, and %s writes it', c.table_name, c.column_name,
              case when c.attidentity = 'a' or c.table_name not in ('webhook_events', 'message_analysis') then 'routing'
                   else 'webhook-router' end),
       case when c.attidentity = 'a'
            then format('alter table public.%I alter column %I set generated by default;', c.table_name, c.column_name)
            when c.attgenerated = 's' and c.has_kind
            then format('alter table public.%I alter column %I drop expression;', c.table_name, c.column_name)
            -- What is computed when it is read cannot become a stored column, and what is of another type not one of ours.
            else format('alter table public.%I rename column %I to %I; alter table public.%I add column %I %s;', c.table_name,
                        c.column_name, c.column_name || '_generated', c.table_name, c.column_name, c.kind) end
from columns c
where c.written and (c.attgenerated <> '' or c.attidentity = 'a')

union all
select format('column public.%s.%s is not null, but null means: %s', c.table_name, c.column_name, c.lacks),
       format('alter table public.%I alter column %I drop not null;', c.table_name, c.column_name)
from columns c
where c.attnotnull
  and (c.is_own
       or c.column_name = 'channel_conversation_id' and not exists (select from filling_triggers f where f.tgrelid = c.oid))

union all
select format('column public.%s.%s has a default, but null means: %s', c.table_name, c.column_name, c.lacks),
       format('alter table public.%I alter column %I drop default;', c.table_name, c.column_name)
from columns c
where c.is_own and c.atthasdef and c.attgenerated = '' and c.has_kind

union all
select format('constraint %I of public.%s does not allow what routing writes to the column %s', k.conname, c.table_name,
              c.column_name),
       format('alter table public.%I rename column %I to %I; alter table public.%I add column %I text;', c.table_name,
              c.column_name, c.column_name || '_before', c.table_name, c.column_name)
from columns c
join pg_constraint k on k.conrelid = c.oid and c.attnum = any (k.conkey)
where c.column_name = 'routed_by' and c.has_kind
  and (k.contype = 'f' or k.contype = 'c' and strpos(pg_get_constraintdef(k.oid), '''intake''') = 0)

union all
select format('column public.%s.%s is not null and has no default: webhook-router does not fill it, and no trigger does',
              t.table_name, a.attname),
       case when a.attname in ('created_at', 'updated_at') and a.atttypid = 'timestamptz'::regtype
            then format('alter table public.%I alter column %I set default now();', t.table_name, a.attname)
            when a.attnotnull
            then format('alter table public.%I alter column %I drop not null; '
                        '-- or set a default, or fill it in a trigger before insert', t.table_name, a.attname)
            else format('alter domain %I.%I drop not null; -- or set a default, or fill it in a trigger before insert',
                        n.nspname, y.typname) end
from tables t
join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and not a.atthasdef and a.attidentity = ''
join pg_type y on y.oid = a.atttypid
join pg_namespace n on n.oid = y.typnamespace
where (a.attnotnull or y.typnotnull) and y.typdefault is null
  and not exists (select from wanted_columns w
                  where w.table_name = t.table_name and w.column_name = a.attname and w.written)
  and not exists (select from filling_triggers f where f.tgrelid = t.oid)
  -- "alter column ... drop not null" is no remedy for a column of the primary key.
  and not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary and a.attnum = any (i.indkey::smallint[]))

union all
select format('the key column public.%s.%s has no default: webhook-router does not fill it, and no trigger does', t.table_name,
              a.attname),
       case when a.atttypid = 'uuid'::regtype
            then format('alter table public.%I alter column %I set default gen_random_uuid();', t.table_name, a.attname)
            else format('give public.%I.%I a default, or fill it in a trigger before insert', t.table_name, a.attname) end
from tables t
join pg_index i on i.indrelid = t.oid and i.indisprimary
join pg_attribute a on a.attrelid = t.oid and a.attnum = any (i.indkey::smallint[]) and not a.atthasdef and a.attidentity = ''
join pg_type y on y.oid = a.atttypid and y.typdefault is null
where not exists (select from wanted_columns w where w.table_name = t.table_name and w.column_name = a.attname and w.written)
  and not exists (select from filling_triggers f where f.tgrelid = t.oid)

union all
select format('public.%s has no unique key on (%s), by which one event is told from another', t.table_name,
              array_to_string(w.columns, ', ')),
       format('create unique index concurrently %I on public.%I (%s)%s;',
              t.table_name || '_' || array_to_string(w.columns, '_') || '_key', t.table_name,
              array_to_string(w.columns, ', '), ' where ' || w.may_be_null || ' is not null')
from tables t
join wanted_keys w using (table_name)
where not exists (select from columns c  -- a missing column has been reported
                  where c.oid = t.oid and c.column_name = any (w.columns) and not c.found)
  and not exists (
    select from pg_index i
    where i.indrelid = t.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indexprs is null
      and (i.indpred is null
           or replace(pg_get_expr(i.indpred, i.indrelid), '"', '') = format('(%s IS NOT NULL)', w.may_be_null))
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
where not f.returns_it

union all
select format('the arguments of function %s are named %s instead of %s, which "create or replace" cannot change',
              f.signature, coalesce(nullif(f.names, ''), 'nothing'), f.named),
       format('drop function %s;', f.signature)
from found_functions f
where f.names is distinct from f.named and f.returns_it

union all
-- The functions write as the owner of webhook_events, who must be a member of the owners of the other tables.
select format('public.%s belongs to "%s", but public.webhook_events to "%s", with whose rights routing writes',
              t.table_name, t.owner, writer.rolname),
       format('alter table public.%I owner to %I;', t.table_name, writer.rolname)
from tables t
cross join writer
where not writer.rolsuper and not writer.rolbypassrls and not pg_has_role(writer.oid, t.relowner, 'usage')

union all
select format('"%s", with whose rights routing writes, may not use the schema "public"', writer.rolname),
       format('grant usage on schema public to %I;', writer.rolname)
from writer
where not has_schema_privilege(writer.oid, 'public', 'usage')

union all
select format('"%s", with whose rights routing writes, may not read and write public.%s', writer.rolname, t.table_name),
       format('grant select, insert, update on public.%I to %I;', t.table_name, writer.rolname)
from tables t
cross join writer
where pg_has_role(writer.oid, t.relowner, 'usage')
  and not (has_table_privilege(writer.oid, t.oid, 'select') and has_table_privilege(writer.oid, t.oid, 'insert')
           and has_table_privilege(writer.oid, t.oid, 'update'))

union all
select format('row security of public.%s is forced: it hides rows from "%s", with whose rights routing writes', h.table_name,
              h.writer),
       case when h.is_restricted
            then format('alter table public.%I no force row level security; -- sessions of %I then see every row', h.table_name,
                        h.writer)
            else format('create policy webhook_router on public.%I to %I using (true) with check (true); '
                        '-- sessions of %I then see every row', h.table_name, h.writer, h.writer) end
from hidden h

union all
select format('rule %I on %s of public.%s: what routing writes there is refused, or lost', r.rulename, r.event,
              r.table_name),
       format('drop rule %I on public.%I; -- a trigger can do the same', r.rulename, r.table_name)
from rules r
where (r.is_on and (r.is_instead or r.table_name in ('contacts', 'contact_channels', 'message_analysis', 'webhook_events')))
   -- "on conflict" is refused even if the rule is disabled.
   or r.event = 'update' and r.table_name in ('contact_channels', 'message_analysis', 'webhook_events')

union all
select format('publication %I publishes updates of public.%s, which has no replica identity: updates fail', p.pubname,
              p.table_name),
       format('alter table public.%I replica identity %s;', p.table_name,
              coalesce((select 'default'
                        from pg_index i
                        where i.indrelid = p.oid and i.indisprimary and i.indisvalid), 'full'))
from published p
where p.identity is null and p.relreplident <> 'f'

union all
select format('the column list of publication %I lacks columns of the replica identity of public.%s: updates fail',
              p.pubname, p.table_name),
       format('alter publication %I drop table public.%I; alter publication %I add table public.%I (%s)%s;',
              p.pubname, p.table_name, p.pubname, p.table_name,
              (select string_agg(format('%I', u.name), ', ')
               from (select unnest(p.listed) as name union select unnest(p.identity::text[])) u),
              ' where (' || p.row_filter || ')')
from published p
where p.listed is not null and not p.listed @> p.identity::text[]

union all
select format('the row filter of publication %I uses columns that are not in the replica identity of public.%s: updates fail',
              p.pubname, p.table_name),
       case when p.listed is null then format('alter table public.%I replica identity full;', p.table_name)
            else format('filter publication %I by columns of the replica identity only', p.pubname) end
from published p
where p.relreplident <> 'f' and not coalesce(p.identity, '{}') @> p.filtering

union all
select format('trigger %s calls function %s, which has no search_path of its own and needs %s', f.first_trigger, f.signature,
              f.what),
       format('alter function %s set search_path = public, %s%s;', f.signature, f.schemas,
              case when to_regnamespace('extensions') is not null then ', extensions' else '' end)
from out_of_reach_by_function f

union all
select format('public.%s has a name that webhook-router needs for an index on public.%s (%s)%s', w.name, w.table_name,
              array_to_string(w.columns, ', '), ' where ' || w.condition),
       case when c.relkind in ('i', 'I') then format('alter index public.%I rename to %I;', w.name, w.name || '_before')
            else format('alter table public.%I rename to %I;', w.name, w.name || '_before') end
from wanted_indexes w
join pg_class c on c.oid = to_regclass('public.' || w.name)
left join pg_index i on i.indexrelid = c.oid
where i.indexrelid is null or i.indrelid is distinct from to_regclass('public.' || w.table_name)
   -- An invalid one is what an interrupted build has left, and the migrator builds it again.
   or i.indisvalid
      and (i.indexprs is not null
           or (select array_agg(coalesce(a.attname::text, '') order by k.position)
               from unnest(i.indkey::smallint[]) with ordinality as k (attnum, position)
               left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
               where k.position <= i.indnkeyatts) is distinct from w.columns
           or translate(lower(pg_get_expr(i.indpred, i.indrelid) collate "C"), '"()', '') is distinct from w.condition)

union all
select format('trigger webhook_router_doorbell on public.webhook_events calls %I.%I() %s: webhook-router needs this name',
              n.nspname, p.proname, case when g.tgtype = 4 then 'after an insert' else 'at another time' end),
       case when n.nspname = 'router' then 'drop trigger webhook_router_doorbell on public.webhook_events;'
            else 'alter trigger webhook_router_doorbell on public.webhook_events rename to doorbell_before;' end
from tables t
join pg_trigger g on g.tgrelid = t.oid and g.tgname = 'webhook_router_doorbell'
join pg_proc p on p.oid = g.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where t.is_events
  and not (n.nspname = 'router' and p.proname = 'ring_doorbell' and g.tgtype = 4)  -- 4: after an insert, once a statement
