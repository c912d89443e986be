-- router.touch_conversations: last_message_at moves on to the latest message that the events have made, never back.
-- takes: events with their conversations
-- writes: conversations that are behind, and no others
-- locks: conversations by id
create or replace function router.touch_conversations(p_events router.event[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    update public.conversations v
    set last_message_at = t.sent_at, updated_at = now()
    from (
        select e.conversation_id, max(e.sent_at) as sent_at
        from unnest(p_events) e
        where not e.has_message
        group by e.conversation_id
        order by e.conversation_id
    ) t
    where v.id = t.conversation_id and (v.last_message_at is null or v.last_message_at < t.sent_at);
end
$function$;
