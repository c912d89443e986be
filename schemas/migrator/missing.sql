-- What migrations have made and is not there, whatever router.schema_migrations says of them: somebody has dropped or renamed
-- it, or a dump has left it out. A migration whose work is missing is applied again. Indexes on tables of the application are
-- in missing_indexes.sql, types and functions are compared with their files. It only reads the catalogue.
-- returns: version (of the migration; null: the bookkeeping, which every run makes; a file of "migrator" that every run
--          applies), what
with tables (version, relation) as (
    values ('20260901000000', 'public.contacts'), ('20260901000000', 'public.contact_channels'),
           ('20260901000000', 'public.conversations'), ('20260901000000', 'public.messages'),
           ('20260901000000', 'public.message_analysis'), ('20260901000000', 'public.webhook_events'),
           ('20260901000100', 'router.parked_events'), ('20260901000500', 'router.installation'),
           ('20260901000700', 'router.replaced_functions'),
           ('20260901000800', 'public.message_delivery'), ('20260901000800', 'public.message_reactions'),
           ('20260901000800', 'public.message_revisions'), ('20260901000800', 'router.delivery_ids'),
           ('20260901000800', 'router.deliveries'), ('20260901000800', 'router.deliveries_default'),
           ('20260901000800', 'router.waiting'), ('20260901000800', 'router.watermarks'),
           ('20260901000800', 'router.referrals'), ('20260901000800', 'router.silent_edits'),
           ('20260901000800', 'router.open_replies'), ('20260901000800', 'router.deleted_messages'),
           ('20260901001000', 'router.kafka_positions'),
           ('20260901001400', 'router.erasures'),
           (null, 'router.schema_migrations'), (null, 'router.schema_functions'),
           ('found.sql', 'router.found'), ('found.sql', 'router.history')
), columns (version, relation, names) as (
    values ('20260901000050', 'public.webhook_events', array['routed_at', 'parked_until']),
           ('20260901000100', 'public.contact_channels', array['display_name_at']),
           ('20260901000100', 'router.parked_events',
            array['event_id', 'channel', 'error_code', 'error_message', 'attempts', 'first_parked_at', 'last_parked_at',
                  'next_attempt_at', 'discarded_at']),
           ('20260901000500', 'router.installation', array['only', 'doorbell']),
           ('20260901000600', 'router.installation', array['public_api', 'service', 'callers', 'made']),
           ('20260901001300', 'router.installation', array['payloads_pruned']),
           ('20260901000800', 'public.webhook_events', array['normalized']),
           ('20260901000800', 'public.conversations', array['account_id']),
           ('20260901001100', 'public.webhook_events', array['routed_by']),
           (null, 'router.schema_migrations', array['version', 'name', 'applied_at']),
           (null, 'router.schema_functions', array['file', 'checksum', 'signature', 'fingerprint'])
), keys (version, relation, name) as (
    values ('20260901000100', 'router.parked_events', 'event_id'), ('20260901000500', 'router.installation', 'only'),
           (null, 'router.schema_migrations', 'version'), (null, 'router.schema_functions', 'file')
), indexes (version, relation, name) as (
    values ('20260901000100', 'router.parked_events', 'parked_events_by_time'),
           ('20260901000400', 'router.parked_events', 'parked_events_discarded'),
           ('20260901001200', 'router.parked_events', 'parked_events_in_order'),
           ('20260901000800', 'router.deliveries', 'deliveries_by_time'),
           ('20260901000800', 'router.deliveries', 'deliveries_unprocessed'),
           ('20260901000800', 'router.deliveries', 'deliveries_unknown'),
           ('20260901000800', 'router.deliveries', 'deliveries_subjects'),
           ('20260901000800', 'router.waiting', 'waiting_by_target'), ('20260901000800', 'router.waiting', 'waiting_by_token'),
           ('20260901000800', 'router.waiting', 'waiting_by_person'), ('20260901000800', 'router.waiting', 'waiting_by_expiry'),
           ('20260901000800', 'router.waiting', 'waiting_by_arrival'),
           ('20260901000800', 'router.watermarks', 'watermarks_by_arrival'),
           ('20260901000800', 'router.referrals', 'referrals_by_message'),
           ('20260901000800', 'router.referrals', 'referrals_by_arrival'),
           ('20260901000800', 'router.silent_edits', 'silent_edits_by_arrival'),
           ('20260901000800', 'router.open_replies', 'open_replies_by_ref'),
           ('20260901000800', 'router.open_replies', 'open_replies_by_token'),
           ('20260901000800', 'router.open_replies', 'open_replies_by_arrival'),
           ('20260901000800', 'router.deleted_messages', 'deleted_messages_by_time')
), references_to_messages (version, relation) as (
    -- Gone with the messages that they referred to.
    values ('20260901000800', 'public.message_delivery'), ('20260901000800', 'public.message_reactions'),
           ('20260901000800', 'public.message_revisions')
), present as (
    -- A look-up by name would be refused to roles that may not use the schema.
    select n.nspname || '.' || c.relname as relation, c.oid
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'router')
)
select t.version, 'table ' || t.relation as what
from tables t
where not exists (select from present p where p.relation = t.relation)
union all
select c.version, format('column %s.%I', c.relation, u.name)
from columns c
join present p using (relation)
cross join lateral unnest(c.names) as u (name)
where not exists (select from pg_attribute a where a.attrelid = p.oid and a.attname = u.name and not a.attisdropped)
union all
select k.version, format('primary key of %s (%I)', k.relation, k.name)
from keys k
join present p using (relation)
where exists (select from pg_attribute a where a.attrelid = p.oid and a.attname = k.name and not a.attisdropped)
  and not exists (select from pg_index i where i.indrelid = p.oid and i.indisprimary)
union all
select x.version, 'index router.' || x.name
from indexes x
join present p using (relation)
where not exists (select from pg_index i
                  join pg_class c on c.oid = i.indexrelid and c.relname = x.name
                  where i.indrelid = p.oid)
union all
select r.version, format('foreign key of %s (message_id)', r.relation)
from references_to_messages r
join present p using (relation)
where exists (select from present m where m.relation = 'public.messages')
  and not exists (select from pg_constraint k
                  where k.conrelid = p.oid and k.contype = 'f' and k.confrelid = to_regclass('public.messages'))
union all
-- Gone with its table; where the table is there, somebody has decided otherwise.
select '20260901001600', 'setting autovacuum_vacuum_scale_factor of public.webhook_events'
where not exists (select from present p where p.relation = 'public.webhook_events')
order by 1 nulls first, 2
