-- router.insert_message: the message of one event.
-- takes: the event; its target; a key
-- returns: the key under which the message was stored; null if a trigger of the application keeps it out
-- raises: unique_violation if there is such a message
-- reads: webhook_events (content) by key
-- writes: messages, router.open_replies; the application's triggers on messages fire here
create or replace function router.insert_message(p_event router.event, p_target router.target, p_id uuid)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_id    uuid;
    v_reply uuid;
    v_path  text;
begin
    if p_event.normalized is not null then
        if p_event.normalized ->> 'reply' is not null then
            v_reply := router.find_reply(p_event.channel, p_target.conversation_id, p_event.normalized ->> 'reply',
                                         p_event.normalized ->> 'reply_token');
        end if;
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        insert into public.messages as m (id, conversation_id, contact_id, channel, direction, message_type, content_text,
                                          media_url, provider_message_id, sent_at, metadata)
        select p_id, p_target.conversation_id, p_target.contact_id, p_event.channel,
               coalesce(p_event.normalized operator(pg_catalog.->>) 'direction', 'inbound'),
               coalesce(p_event.normalized operator(pg_catalog.->>) 'message_type', 'text'), w.content,
               p_event.normalized operator(pg_catalog.->>) 'media_url', p_event.event_id, p_event.sent_at,
               router.metadata_told(p_event.type, p_event.post_id, p_event.normalized, v_reply)
        from public.webhook_events w
        where w.id operator(pg_catalog.=) p_event.id
        returning m.id into v_id;
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        if v_id is not null and p_event.normalized ->> 'reply' is not null and v_reply is null then
            insert into router.open_replies (message_id, channel, ref, token)
            values (v_id, p_event.channel, p_event.normalized ->> 'reply', p_event.normalized ->> 'reply_token')
            on conflict (message_id) do nothing;
        end if;
        return v_id;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.messages as m (id, conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                                      sent_at, metadata)
    select p_id, p_target.conversation_id, p_target.contact_id, p_event.channel, 'inbound', w.content, p_event.event_id,
           p_event.sent_at, router.metadata_of(p_event.type, p_event.post_id)
    from public.webhook_events w
    where w.id operator(pg_catalog.=) p_event.id
    returning m.id into v_id;
    return v_id;
end
$function$;
