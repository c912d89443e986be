-- The tables that routing needs, whether or not any function is installed. Only reads; run it as often as you like:
--   psql -v ON_ERROR_STOP=1 -f test_phase9_tables_only.sql

select w.name as table_name, c.oid is not null as present, c.relrowsecurity as row_security,
       (select count(*) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
       c.reltuples::bigint as rows_estimated
from (values ('contacts'), ('contact_channels'), ('conversations'), ('messages'), ('message_analysis'),
             ('webhook_events')) as w (name)
left join pg_class c on c.oid = to_regclass('public.' || w.name)
order by w.name;

do $check$
declare
    v_missing text;
begin
    select string_agg(format('%s.%s', w.table_name, w.column_name), ', ') into v_missing
    from (values ('contacts', 'id'), ('contacts', 'full_name'),
                 ('contact_channels', 'contact_id'), ('contact_channels', 'channel'), ('contact_channels', 'external_id'),
                 ('conversations', 'id'), ('conversations', 'contact_id'), ('conversations', 'channel'),
                 ('conversations', 'status'), ('conversations', 'last_message_at'),
                 ('messages', 'id'), ('messages', 'conversation_id'), ('messages', 'contact_id'), ('messages', 'channel'),
                 ('messages', 'direction'), ('messages', 'content_text'), ('messages', 'provider_message_id'),
                 ('messages', 'sent_at'),
                 ('message_analysis', 'message_id'), ('message_analysis', 'intent'),
                 ('message_analysis', 'needs_escalation'),
                 ('webhook_events', 'id'), ('webhook_events', 'channel'), ('webhook_events', 'event_id'),
                 ('webhook_events', 'author_id'), ('webhook_events', 'content'), ('webhook_events', 'event_date'),
                 ('webhook_events', 'conversation_id'), ('webhook_events', 'raw_payload'),
                 ('webhook_events', 'routed_at')) as w (table_name, column_name)
    left join pg_attribute a on a.attrelid = to_regclass('public.' || w.table_name) and a.attname = w.column_name
                            and not a.attisdropped
    where a.attname is null;
    if v_missing is not null then
        raise exception 'missing: %', v_missing using hint = 'Run: webhook-router migrate';
    end if;
end
$check$;

select 'test_phase9_tables_only' as test, 'passed' as result;
