-- router.mark_routed: sets conversation_id and routed_at of the events, which are no longer parked then.
-- takes: events, their rows locked by the caller, and their targets
-- writes: webhook_events, router.parked_events
create or replace function router.mark_routed(p_events router.event[], p_targets router.target[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, public, pg_temp  -- public: for the application's triggers
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    update public.webhook_events w
    set conversation_id = e.conversation_id, routed_at = clock_timestamp(), parked_until = null
    from rows from (unnest(p_events), unnest(p_targets)) e
    where w.id = any (array[e.id]);

    -- For all events, not only those claimed as parked: a redelivery or an operator may have ended the wait of others.
    if exists (select from router.parked_events) then
        delete from router.parked_events p
        using unnest(p_events) e
        where p.event_id = any (array[e.id]);
    end if;
end
$function$;
