-- router.find_targets: looks up what is missing of each event's contact, with the name known of it, and conversation.
-- takes: events; what they have already is kept, so an event may name its conversation beforehand; p_again: look up the
--   names anew
-- returns: the events in the same order, filled in as far as the rows exist
-- reads: contact_channels by key, conversations by contact or thread, each by one index look-up an event. The planner has
--   no other way: LATERAL … LIMIT 1 cannot become a join, and "is not distinct from" cannot use an index, which keeps it
--   off (channel, status) and off (contact_id) for "contact_id is null". So speed does not depend on statistics.
create or replace function router.find_targets(p_events router.event[], p_again boolean default false)
returns router.event[]
language plpgsql
volatile  -- each call sees what others have committed since the last one
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
begin
    return (
        select array_agg(row(e.id, e.channel, e.type, e.event_id, e.author_id, e.author_name, e.post_id, e.sent_at,
                             e.created_at, e.has_message,
                             coalesce(e.conversation_id, v.id, t.id), coalesce(e.contact_id, k.contact_id),
                             coalesce(e.channel_id, k.id),
                             case when k.contact_id is null then e.known_name else k.display_name end,
                             case when k.contact_id is null then e.known_name_at else k.display_name_at end)::router.event)
        from unnest(p_events) e
        left join lateral (
            select k.id, k.contact_id, k.display_name, k.display_name_at
            from public.contact_channels k
            where (e.contact_id is null or p_again) and k.channel = e.channel and k.external_id = e.author_id
            limit 1
        ) k on true
        -- The wild has duplicates of open conversations: the newest is the one.
        left join lateral (
            select v.id
            from public.conversations v
            where e.conversation_id is null and v.contact_id = coalesce(e.contact_id, k.contact_id)
              and v.channel is not distinct from e.channel and v.status is not distinct from 'open'
            order by v.created_at desc, v.id desc
            limit 1
        ) v on true
        left join lateral (
            select v.id
            from public.conversations v
            where e.conversation_id is null and e.author_id is null
              and v.channel_conversation_id = router.thread_of(e.type, e.post_id, e.event_id)
              and v.channel is not distinct from e.channel and v.status is not distinct from 'open'
              and v.contact_id is not distinct from e.contact_id  -- null: there is no author
            order by v.created_at desc, v.id desc
            limit 1
        ) t on true
    );
end
$function$;
