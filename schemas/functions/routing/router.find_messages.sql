-- router.find_messages: finds out which events have their message already (re-opened by the application, say).
-- takes: events
-- returns: the events in the same order; those that have a message with has_message and that message's conversation
-- reads: messages by key. Equality would leave the planner a choice, and where it knows nothing of the data yet it may take
--   (channel, sent_at); only the key has this order, and sorting is off
create or replace function router.find_messages(p_events router.event[])
returns router.event[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
begin
    return (
        select array_agg(row(e.id, e.channel, e.type, e.event_id, e.author_id, e.author_name, e.post_id, e.sent_at,
                             e.created_at, m.conversation_id is not null,
                             coalesce(m.conversation_id, e.conversation_id), e.contact_id, e.channel_id,
                             e.known_name, e.known_name_at)::router.event)
        from unnest(p_events) e
        left join lateral (
            select m.conversation_id
            from public.messages m
            where m.channel = e.channel and m.provider_message_id >= e.event_id and m.provider_message_id <= e.event_id
            order by m.provider_message_id
            limit 1
        ) m on true
    );
end
$function$;
