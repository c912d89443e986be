-- router.find_reply: finds the message that another one answers: by the id that it names, and otherwise, since one message of
-- WhatsApp has several ids, by what these have in common, within the conversation.
-- takes: the channel and conversation of the answer; the id that it names, and its token, see router.token_of
-- returns: the message; null if it is not there
-- reads: messages by key; for tokens the latest messages of the conversation
create or replace function router.find_reply(p_channel text, p_conversation_id uuid, p_ref text, p_token text)
returns uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_id    uuid;
    v_marks text[];
begin
    select m.id into v_id
    from public.messages m
    where m.channel = p_channel and m.provider_message_id >= p_ref and m.provider_message_id <= p_ref
    order by m.provider_message_id
    limit 1;
    if v_id is null and p_token is not null then
        v_marks := router.token_marks(p_token);
        select m.id into v_id
        from (
            select m.id, m.channel, m.provider_message_id
            from public.messages m
            where m.conversation_id = p_conversation_id
            order by m.conversation_id, m.sent_at desc
            limit 500  -- a long conversation must not make an answer to an unknown message costly
        ) m
        where m.channel = p_channel
          and (position(v_marks[1] in m.provider_message_id) > 0 or position(v_marks[2] in m.provider_message_id) > 0
               or position(v_marks[3] in m.provider_message_id) > 0)
          and router.token_of(m.provider_message_id) = p_token
        limit 1;
    end if;
    return v_id;
end
$function$;
