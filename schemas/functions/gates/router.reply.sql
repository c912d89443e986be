-- router.reply: composes the reply to a message and stores it, outbound, in the message's conversation. The application
-- sends it.
-- returns: the id of the new message
-- raises: "message not found"
-- writes: messages, conversations.last_message_at
create or replace function router.reply(p_message_id uuid)
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_text text := router.compose_reply(p_message_id);
    v_id   uuid;
    v_path text;
begin
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.messages (conversation_id, contact_id, channel, direction, content_text, metadata)
    select m.conversation_id, m.contact_id, m.channel, 'outbound', v_text,
           pg_catalog.jsonb_build_object('reply_to', m.id, 'auto', true)
    from public.messages m
    where m.id operator(pg_catalog.=) p_message_id
    returning id into v_id;

    update public.conversations v
    set last_message_at = m.sent_at, updated_at = pg_catalog.now()
    from public.messages m
    where m.id operator(pg_catalog.=) v_id and v.id operator(pg_catalog.=) m.conversation_id
      and (v.last_message_at is null or v.last_message_at operator(pg_catalog.<) m.sent_at);
    return v_id;
end
$function$;
