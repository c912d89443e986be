-- webhook-router: no transaction
-- Look-ups of every event that a database may lack: built where no index begins with the column. Tables made by
-- webhook-router have them. psql and the migrator run what a query ended by \gexec returns.

select format('create index concurrently if not exists %I on public.%I (%s)', w.index_name, w.table_name, w.columns)
from (values ('router_conversations_by_contact', 'conversations', 'contact_id', 'contact_id'),
             ('router_messages_by_conversation', 'messages', 'conversation_id', 'conversation_id, sent_at'),
             ('router_channels_by_contact', 'contact_channels', 'contact_id', 'contact_id')
     ) as w (index_name, table_name, first_column, columns)
where not exists (
    select from pg_index i
    join pg_class x on x.oid = i.indexrelid
    join pg_am m on m.oid = x.relam
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass('public.' || w.table_name) and a.attname = w.first_column and m.amname = 'btree'
      and i.indpred is null and i.indisvalid
)
order by w.index_name
\gexec
