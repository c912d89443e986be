-- What webhook-router has added to this database, by what is there and bears a name of ours. It only reads the catalogue.
-- The uninstaller puts the names of our files, and the signatures that router.schema_functions lists, in place of the comments.
-- returns: kind, name (as SQL has it), classid, objid, objsubid (as pg_depend has them)

with ours (file) as (
    select unnest(array[/* files */]::text[])
), listed (signature) as (
    select replace(s, '"', '') from unnest(array[/* signatures */]::text[]) as s
), signatures (name) as (
    values ('ingest_webhook_event(text, text, text, text, text, text, timestamptz, text, uuid, jsonb)'),
           ('route_webhook_event(text, text)'), ('route_unrouted_events(text, integer)'), ('analyze_message_simple(uuid)'),
           ('ingest_route_analyze(text, text, text, text, text, text, timestamptz, jsonb)'),
           ('ingest_instagram_webhook(jsonb)'), ('ai_reply_template(uuid)'), ('auto_reply_stub(uuid)')
), indexes (name, table_name) as (
    values ('router_ready_by_event_date', 'webhook_events'), ('router_ready_by_arrival', 'webhook_events'),
           ('router_parked_by_next_attempt', 'webhook_events'), ('router_threads', 'conversations'),
           ('router_conversations_by_contact', 'conversations'), ('router_messages_by_conversation', 'messages'),
           ('router_channels_by_contact', 'contact_channels'), ('router_events_by_conversation', 'webhook_events'),
           ('router_messages_by_contact', 'messages')
), columns (table_name, name) as (
    values ('webhook_events', 'parked_until'), ('webhook_events', 'routed_at'), ('contact_channels', 'display_name_at'),
           ('webhook_events', 'normalized'), ('conversations', 'account_id'), ('webhook_events', 'routed_by')
), router as (
    select n.oid from pg_namespace n where n.nspname = 'router'
)
select 'function' as kind, p.oid::regprocedure::text as name, 'pg_proc'::regclass::oid as classid, p.oid as objid,
       0 as objsubid
from signatures s
join pg_proc p on p.oid = to_regprocedure('public.' || s.name)
where p.prokind = 'f' and p.prosrc like '%select router.%'

union all
select 'private function', p.oid::regprocedure::text, 'pg_proc'::regclass::oid, p.oid, 0
from router r
join pg_proc p on p.pronamespace = r.oid
where exists (select from ours o where o.file = format('router.%s.sql', p.proname))
   or exists (select from listed l where l.signature = p.oid::regprocedure::text)

union all
select case c.relkind when 'v' then 'private view' when 'S' then 'private sequence' else 'private table' end,
       c.oid::regclass::text, 'pg_class'::regclass::oid, c.oid, 0
from router r
join pg_class c on c.relnamespace = r.oid and c.relkind in ('r', 'p', 'S', 'v')
where c.relname in ('schema_migrations', 'schema_functions', 'function_fingerprints', 'parked_events', 'installation',
                    'replaced_functions', 'found', 'history', 'deliveries', 'deliveries_default', 'delivery_ids', 'waiting',
                    'watermarks', 'referrals', 'silent_edits', 'open_replies', 'deleted_messages', 'kafka_positions',
                    'erasures')
   or c.relispartition and c.relname ~ '^deliveries_[0-9]{8}$'

union all
select 'private type', t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, 0
from router r
join pg_type t on t.typnamespace = r.oid
join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
where exists (select from ours o where o.file = format('router.%s.sql', t.typname))
   or exists (select from listed l where l.signature = 'type ' || t.oid::regtype::text)

union all
select 'trigger', format('%I on public.webhook_events', t.tgname), 'pg_trigger'::regclass::oid, t.oid, 0
from router r
join pg_proc p on p.pronamespace = r.oid and p.proname = 'ring_doorbell'
join pg_trigger t on t.tgfoid = p.oid and t.tgrelid = to_regclass('public.webhook_events')
where t.tgname = 'webhook_router_doorbell'

union all
select 'index', c.oid::regclass::text, 'pg_class'::regclass::oid, c.oid, 0
from indexes w
join pg_class c on c.oid = to_regclass('public.' || w.name)
join pg_index i on i.indexrelid = c.oid and i.indrelid = to_regclass('public.' || w.table_name)

union all
select 'column', format('public.%I.%I', w.table_name, w.name), 'pg_class'::regclass::oid, a.attrelid, a.attnum
from columns w
join pg_attribute a on a.attrelid = to_regclass('public.' || w.table_name) and a.attname = w.name and not a.attisdropped

union all
select 'schema', 'router', 'pg_namespace'::regclass::oid, r.oid, 0
from router r
order by 1, 2
