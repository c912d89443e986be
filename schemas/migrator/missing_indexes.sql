-- Indexes of the router that somebody has dropped, or a dump has left out: those that every database has, and look-ups that
-- no index of the application serves.
select 'public' as nspname, w.name as relname
from (values ('router_ready_by_event_date'), ('router_ready_by_arrival'), ('router_parked_by_next_attempt'), ('router_threads')
     ) as w (name)
where to_regclass('public.' || w.name) is null
union all
select 'public', w.name
from (values ('router_conversations_by_contact', 'conversations', 'contact_id'),
             ('router_messages_by_conversation', 'messages', 'conversation_id'),
             ('router_channels_by_contact', 'contact_channels', 'contact_id')
     ) as w (name, table_name, column_name)
where to_regclass('public.' || w.name) is null
  and exists (select from pg_class c where c.oid = to_regclass('public.' || w.table_name) and c.relkind = 'r')
  and not exists (
    select from pg_index i
    join pg_class x on x.oid = i.indexrelid
    join pg_am m on m.oid = x.relam
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass('public.' || w.table_name) and a.attname = w.column_name and m.amname = 'btree'
      and i.indpred is null and i.indisvalid
)
order by 2
