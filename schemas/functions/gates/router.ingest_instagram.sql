-- router.ingest_instagram: stores all text messages of one Instagram webhook body, from all of its entries, in both shapes
-- that Instagram sends: changes[].value.messages[], with times in seconds, and messaging[], with times in milliseconds.
-- returns: how many it took; 0 for a body of another object. Echoes of one's own messages, and messages without text or
--   sender, do not come from a customer and are skipped. So are those beyond the limits of router.too_long, with a warning:
--   Instagram sends none, and the others of the body must not be lost
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
    v_reason  text;
begin
    if not starts_with(lower(coalesce(p_body ->> 'object', '') collate "C"), 'instagram') then
        return 0;
    end if;
    for v_message in
        with entry as (
            select e.value from jsonb_path_query(p_body, 'lax $.entry[*]') as e (value)
        ), found as (
            select coalesce(m.value ->> 'id', m.value ->> 'mid') as event_id,
                   coalesce(m.value #>> '{from,id}', m.value #>> '{sender,id}',
                            case when jsonb_typeof(m.value -> 'from') <> 'object' then m.value ->> 'from' end) as author_id,
                   coalesce(m.value #>> '{from,username}', m.value #>> '{from,name}') as author_name,
                   coalesce(m.value #>> '{text,body}',
                            case when jsonb_typeof(m.value -> 'text') <> 'object' then m.value ->> 'text' end) as content,
                   router.time_of(m.value ->> 'timestamp') as sent_at, m.value as payload
            from entry, jsonb_path_query(entry.value, 'lax $.changes[*].value.messages[*]') as m (value)
            union all
            select m.value #>> '{message,mid}', m.value #>> '{sender,id}', m.value #>> '{sender,username}',
                   m.value #>> '{message,text}', router.time_of(m.value ->> 'timestamp'), m.value
            from entry, jsonb_path_query(entry.value, 'lax $.messaging[*]') as m (value)
            where coalesce(m.value #>> '{message,is_echo}', '') <> 'true'
        )
        select f.*
        from found f
        where nullif(f.event_id, '') is not null and nullif(f.author_id, '') is not null and nullif(f.content, '') is not null
    loop
        v_reason := router.too_long(row('instagram', 'message', v_message.event_id, v_message.author_id, v_message.author_name,
                                        v_message.content, null, null, null, null, null)::router.incoming);
        if v_reason is not null then
            raise warning 'a message of an Instagram webhook is skipped: %', v_reason;
            continue;
        end if;
        perform router.ingest_event('instagram', 'message', v_message.event_id, v_message.author_id, v_message.author_name,
                                    v_message.content, v_message.sent_at, null, null, v_message.payload);
        v_taken := v_taken + 1;
    end loop;
    return v_taken;
end
$function$;
