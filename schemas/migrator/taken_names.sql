-- What bears a name that is ours in the schema "router" without being ours: it is neither replaced nor dropped. It only reads.
-- Names of ours in the schema "public" are among the obstacles.
-- returns: problem, remedy (SQL)

with router as (
    select n.oid,
           -- The shapes of our tables tell them from somebody else's of that name. One may be gone, or have lost a column.
           exists (select
                   from (values ('schema_migrations', array['applied_at', 'name', 'version']),
                                ('schema_functions', array['checksum', 'file', 'fingerprint', 'signature']),
                                ('parked_events', array['attempts', 'channel', 'discarded_at', 'error_code', 'error_message',
                                                        'event_id', 'first_parked_at', 'last_parked_at', 'next_attempt_at'])
                        ) as w (name, columns)
                   join pg_class c on c.relname = w.name and c.relnamespace = n.oid and c.relkind = 'r'
                   where w.columns = (select array_agg(a.attname::text order by a.attname)
                                      from pg_attribute a
                                      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)) as is_ours,
           exists (select from pg_depend d
                   where d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid and d.deptype = 'n') as is_used,
           (select c.oid from pg_class c where c.relnamespace = n.oid and c.relname = 'parked_events') as parked_events
    from pg_namespace n
    where n.nspname = 'router'
), wanted_relations (name, kind, columns) as (
    values ('schema_functions', 'r', array['checksum', 'file', 'fingerprint', 'signature']),
           ('parked_events', 'r', array['attempts', 'channel', 'discarded_at', 'error_code', 'error_message', 'event_id',
                                        'first_parked_at', 'last_parked_at', 'next_attempt_at']),
           ('installation', 'r', array['doorbell', 'only']),
           ('replaced_functions', 'r', array['definition', 'description', 'extensions', 'kept_at', 'owner', 'rights',
                                             'signature']),
           ('found', 'r', array['kind', 'name']),
           ('history', 'r', array['before', 'block', 'blocks', 'marked', 'only', 'state']),
           ('deliveries', 'p', array['account', 'attempts', 'body', 'digest', 'error', 'has_unknown', 'id', 'is_compressed',
                                     'kinds', 'next_attempt_at', 'processed_at', 'provider', 'received_at', 'subjects',
                                     'version']),
           ('deliveries_default', 'r', array['account', 'attempts', 'body', 'digest', 'error', 'has_unknown', 'id',
                                             'is_compressed', 'kinds', 'next_attempt_at', 'processed_at', 'provider',
                                             'received_at', 'subjects', 'version']),
           ('delivery_ids', 'S', array['is_called', 'last_value', 'log_cnt']),
           ('waiting', 'r', array['account', 'atom_id', 'attempts', 'channel', 'effect', 'error', 'expires_at', 'kind',
                                  'person', 'received_at', 'target', 'token']),
           ('watermarks', 'r', array['account', 'at', 'channel', 'person', 'received_at', 'status', 'until']),
           ('referrals', 'r', array['account', 'at', 'channel', 'message_id', 'ord', 'person', 'received_at', 'referral']),
           ('silent_edits', 'r', array['attachments', 'message_id', 'ord', 'received_at', 'revised_at']),
           ('open_replies', 'r', array['channel', 'message_id', 'received_at', 'ref', 'token']),
           ('deleted_messages', 'r', array['deleted_at', 'subject']),
           ('erasures', 'r', array['erased_at', 'erased_by', 'gone', 'id']),
           ('kafka_positions', 'r', array['group_id', 'next_offset', 'noted_at', 'partition', 'skipped', 'topic']),
           ('parked_events_by_time', 'i', array['last_parked_at']),
           ('parked_events_in_order', 'i', array['event_id', 'last_parked_at']),
           ('parked_events_discarded', 'i', array['discarded_at']),
           ('deliveries_by_time', 'I', array['id', 'received_at']),
           ('deliveries_unprocessed', 'I', array['id', 'next_attempt_at']),
           ('deliveries_unknown', 'I', array['received_at']), ('deliveries_subjects', 'I', array['subjects']),
           ('waiting_by_target', 'i', array['channel', 'target']), ('waiting_by_token', 'i', array['channel', 'token']),
           ('waiting_by_person', 'i', array['channel', 'person']), ('waiting_by_expiry', 'i', array['expires_at']),
           ('waiting_by_arrival', 'i', array['received_at']), ('watermarks_by_arrival', 'i', array['received_at']),
           ('referrals_by_message', 'i', array['message_id']), ('referrals_by_arrival', 'i', array['received_at']),
           ('silent_edits_by_arrival', 'i', array['received_at']),
           ('open_replies_by_ref', 'i', array['channel', 'ref']), ('open_replies_by_token', 'i', array['channel', 'token']),
           ('open_replies_by_arrival', 'i', array['received_at']),
           ('deleted_messages_by_time', 'i', array['deleted_at'])
), kinds (kind, word) as (
    values ('r', 'table'), ('p', 'table'), ('v', 'view'), ('m', 'materialized view'), ('i', 'index'), ('I', 'index'),
           ('S', 'sequence'), ('f', 'foreign table'), ('c', 'type')
), relations as (
    select c.oid, c.relnamespace, c.relname, c.relkind::text as kind, k.word,
           (select coalesce(array_agg(a.attname::text order by a.attname), '{}')
            from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
           (select i.indrelid from pg_index i where i.indexrelid = c.oid) as indexed
    from pg_class c
    join kinds k on k.kind = c.relkind::text
    where c.relname in (select name from wanted_relations
                        union all values ('event'), ('target'), ('incoming'), ('batch'), ('fault'))
)

select 'the schema "router" is there already, and webhook-router, which keeps its own things in a schema of that name, has '
           || 'not made it' as problem,
       case when r.is_used then 'alter schema router rename to router_of_the_application;' else 'drop schema router;' end
           as remedy
from router r
where not r.is_ours

union all
select format('%s router.%I does not belong to webhook-router, which needs the name', f.word, f.relname),
       format('alter %s router.%I rename to %I;', f.word, f.relname, f.relname || '_of_the_application')
from router r
join relations f on f.relnamespace = r.oid
left join wanted_relations w on w.name = f.relname
where r.is_ours
  and case when w.name is null then f.kind <> 'c'
           when f.kind <> w.kind then true
           when f.kind in ('i', 'I') then
               f.columns <> w.columns
               or r.parked_events is not null and not exists (select
                                                              from relations t
                                                              join wanted_relations o on o.name = t.relname
                                                              where t.oid = f.indexed and o.kind in ('r', 'p'))
           -- Ours may have lost some of its columns, which are made again.
           else (select count(*) from unnest(w.columns) as c where c = any (f.columns)) * 2 < cardinality(w.columns) end

union all
select 'table router.parked_events is missing, and router.' || c.relname || ' has its indexes: it was renamed',
       format('alter table router.%I rename to parked_events;', c.relname)
from router r
join pg_class c on c.relnamespace = r.oid
where r.is_ours and r.parked_events is null
  and exists (select from relations f
              where f.relnamespace = r.oid and f.relname in ('parked_events_by_time', 'parked_events_discarded')
                and f.indexed = c.oid)
