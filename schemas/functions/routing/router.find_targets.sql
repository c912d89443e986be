-- router.find_targets: looks up what is missing of each event's target: the author's contact and its known name, and the
-- conversation.
-- takes: events; their targets, null for none yet: what is there is kept; p_again: look up the names again
-- returns: the targets, in the same order, filled in as far as the rows exist; of events with "normalized" by
--   router.find_conversations
-- reads: contact_channels by key, conversations by contact or thread. "is not distinct from" cannot use an index, which
--   keeps the planner off (channel, status), and off (contact_id) for "contact_id is null"
create or replace function router.find_targets(
    p_events router.event[], p_targets router.target[], p_again boolean default false
) returns router.target[]
language plpgsql
volatile  -- each call sees what others have committed since the last one
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    -- Names that come from further ahead are of a release that took any time for one, and do not count as known.
    v_ahead constant timestamptz := clock_timestamp() + interval '1 day';
begin
    return (
        select case when bool_or(f.is_normalized) then router.find_conversations(p_events, array_agg(f.target))
                    else array_agg(f.target) end
        from (
            select row(f.has_message, f.conversation_id, f.contact_id, f.channel_id,
                       case when k.contact_id is null then e.known_name else k.display_name end,
                       f.name_is_news, f.renames,
                       not f.has_message and (f.conversation_id is null
                                              or e.author_id is not null and f.contact_id is null
                                              or f.renames),
                       e.message_id, e.is_adopted)::router.target as target,
                   e.normalized is not null as is_normalized
            from rows from (unnest(p_events), unnest(p_targets)) e
            left join lateral (
                -- Names are ordered by time and then by themselves: every order of routing ends with the same one.
                select k.id, k.contact_id, k.display_name,
                       k.display_name_at is null or k.display_name_at > v_ahead
                       or (k.display_name_at, coalesce(k.display_name, '')) < (e.ranked_at, e.author_name collate "C") as is_older,
                       k.display_name is distinct from e.author_name as is_other
                from public.contact_channels k
                where (e.contact_id is null or p_again) and k.channel = e.channel and k.external_id = e.author_id
                limit 1
            ) k on true
            -- There may be several open conversations: the newest one counts.
            left join lateral (
                select v.id
                from public.conversations v
                where e.conversation_id is null and e.given_conversation_id is null and e.normalized is null
                  and v.contact_id = coalesce(e.contact_id, k.contact_id)
                  and v.channel is not distinct from e.channel and v.status is not distinct from 'open'
                order by v.created_at desc, v.id desc
                limit 1
            ) v on true
            left join lateral (
                select v.id
                from public.conversations v
                where e.conversation_id is null and e.given_conversation_id is null and e.author_id is null
                  and e.normalized is null
                  and v.channel_conversation_id = router.thread_of(e.type, e.post_id, e.event_id)
                  and v.channel is not distinct from e.channel and v.status is not distinct from 'open'
                  and v.contact_id is not distinct from e.contact_id  -- null: there is no author
                order by v.created_at desc, v.id desc
                limit 1
            ) t on true
            cross join lateral (
                select coalesce(e.has_message, false) as has_message,
                       coalesce(e.conversation_id, e.given_conversation_id, v.id, t.id) as conversation_id,
                       coalesce(e.contact_id, k.contact_id) as contact_id,
                       coalesce(e.channel_id, k.id) as channel_id,
                       e.author_name is not null and coalesce(k.is_older, e.name_is_news, e.author_id is not null)
                           as name_is_news,
                       e.author_name is not null and coalesce(k.is_older and k.is_other, e.renames, e.author_id is not null)
                           as renames
            ) f
        ) f
    );
end
$function$;
