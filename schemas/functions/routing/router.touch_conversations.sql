-- router.touch_conversations: moves last_message_at on to the latest message that the events make, never back, and never beyond
-- the arrival of an event that claims to come from the future.
-- takes: events and their targets
-- writes: only the conversations that are behind
-- locks: conversations in the order of their id. If the application has triggers on messages, all conversations that get a
--   message and not only those that are behind: the triggers may write any of them, in the order of messages
create or replace function router.touch_conversations(p_events router.event[], p_targets router.target[])
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
declare
    v_path text;
begin
    if exists (select from pg_trigger t where t.tgrelid = 'public.messages'::regclass::oid and not t.tgisinternal) then
        perform
        from (
            select distinct t.conversation_id
            from unnest(p_targets) t
            where not t.has_message
            order by t.conversation_id
        ) t
        cross join lateral (select from public.conversations v where v.id = t.conversation_id limit 1 for no key update) v;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.conversations v
    set last_message_at = t.ranked_at, updated_at = pg_catalog.now()
    from (
        select e.conversation_id, pg_catalog.max(e.ranked_at) as ranked_at
        from rows from (pg_catalog.unnest(p_events), pg_catalog.unnest(p_targets)) e
        where not e.has_message
        group by e.conversation_id
        order by e.conversation_id
    ) t
    where v.id operator(pg_catalog.=) any (array[t.conversation_id])
      and (v.last_message_at is null or v.last_message_at operator(pg_catalog.<) t.ranked_at);
end
$function$;
