-- router.insert_message: the inbound message of one event.
-- takes: the event; its target; a key
-- returns: the key under which the message was stored; null if a trigger of the application keeps it out
-- raises: unique_violation if there is such a message
-- reads: webhook_events (content) by key
-- writes: messages; the application's triggers on messages fire here
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
    v_id   uuid;
    v_path text;
begin
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
