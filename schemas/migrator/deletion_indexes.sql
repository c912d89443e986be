-- Indexes with which deleting a conversation or a contact reads no table from one end to the other, where nothing serves the
-- foreign key: only on request, since each event pays for them. It only reads the catalogue.
-- returns: index (schema and name), statement (SQL, outside a transaction)
select 'public.' || w.index_name as index,
       format('create index concurrently if not exists %I on public.%I (%I)', w.index_name, w.table_name, w.column_name)
           as statement
from (values ('router_events_by_conversation', 'webhook_events', 'conversation_id'),
             ('router_messages_by_contact', 'messages', 'contact_id')
     ) as w (index_name, table_name, column_name)
where not exists (
    select from pg_index i
    join pg_class x on x.oid = i.indexrelid
    join pg_am m on m.oid = x.relam
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass('public.' || w.table_name) and a.attname = w.column_name and m.amname = 'btree'
      and i.indisvalid
      and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', w.column_name))
)
order by 1
