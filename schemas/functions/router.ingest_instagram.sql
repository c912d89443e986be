-- router.ingest_instagram: stores the text messages of one Instagram webhook body: all of them, over all entries, in both
-- shapes that Instagram sends (changes[].value.messages[] with seconds, messaging[] with milliseconds).
-- returns: how many were taken; 0 for another object's body. Echoes of own messages and messages without text or sender
--   are no messages of a customer and are passed over
-- writes: webhook_events
create or replace function router.ingest_instagram(p_body jsonb)
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_taken   integer := 0;
    v_message record;
begin
    if lower(coalesce(p_body ->> 'object', '')) not like 'instagram%' then
        return 0;
    end if;
    for v_message in
        with entry as (
            select e.value from jsonb_path_query(p_body, 'lax $.entry[*]') as e (value)
        ), found as (
            select coalesce(m.value ->> 'id', m.value ->> 'mid') as event_id,
                   coalesce(m.value #>> '{from,id}', m.value ->> 'from', m.value #>> '{sender,id}') as author_id,
                   coalesce(m.value #>> '{from,username}', m.value #>> '{from,name}') as author_name,
                   coalesce(m.value #>> '{text,body}', m.value ->> 'text') as content,
                   m.value ->> 'timestamp' as stamp, 1 as divisor, m.value as payload
            from entry, jsonb_path_query(entry.value, 'lax $.changes[*].value.messages[*]') as m (value)
            union all
            select m.value #>> '{message,mid}', m.value #>> '{sender,id}', m.value #>> '{sender,username}',
                   m.value #>> '{message,text}', m.value ->> 'timestamp', 1000, m.value
            from entry, jsonb_path_query(entry.value, 'lax $.messaging[*]') as m (value)
            where coalesce(m.value #>> '{message,is_echo}', '') <> 'true'
        )
        select f.*, case when f.stamp ~ '^[0-9]{1,12}(\.[0-9]+)?$' or f.divisor = 1000 and f.stamp ~ '^[0-9]{1,15}$'
                         then to_timestamp(f.stamp::numeric / f.divisor) end as sent_at
        from found f
        where nullif(f.event_id, '') is not null and nullif(f.author_id, '') is not null and nullif(f.content, '') is not null
    loop
        perform router.ingest_event('instagram', 'message', v_message.event_id, v_message.author_id, v_message.author_name,
                                    v_message.content, v_message.sent_at, null, null, v_message.payload);
        v_taken := v_taken + 1;
    end loop;
    return v_taken;
end
$function$;
