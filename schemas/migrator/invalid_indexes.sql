-- Indexes of the router that an interrupted concurrent build has left behind: they slow down every write and are of no use.
-- One that is being built at this moment is not among them. Whether the names are ours is asked beforehand: obstacles.sql.
select n.nspname, c.relname
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid
  and n.nspname = 'public'
  and c.relname in ('router_ready_by_event_date', 'router_ready_by_arrival', 'router_parked_by_next_attempt', 'router_threads',
                    'router_conversations_by_contact', 'router_messages_by_conversation', 'router_channels_by_contact',
                    'router_events_by_conversation', 'router_messages_by_contact')
  and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
order by 1, 2
