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
set search_path = pg_catalog, public, extensions, pg_temp  -- for the application's triggers
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_text text := router.compose_reply(p_message_id);
    v_id   uuid;
begin
    insert into public.messages (conversation_id, contact_id, channel, direction, content_text, metadata)
    select m.conversation_id, m.contact_id, m.channel, 'outbound', v_text,
           jsonb_build_object('reply_to', m.id, 'auto', true)
    from public.messages m
    where m.id = p_message_id
    returning id into v_id;

    update public.conversations v
    set last_message_at = m.sent_at, updated_at = now()
    from public.messages m
    where m.id = v_id and v.id = m.conversation_id and (v.last_message_at is null or v.last_message_at < m.sent_at);
    return v_id;
end
$function$;
