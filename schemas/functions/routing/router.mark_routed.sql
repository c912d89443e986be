-- router.mark_routed: sets conversation_id, routed_at and routed_by of the events, which are no longer parked then.
-- takes: events, their rows locked by the caller, each with the path by which it is routed; their targets. Paths: 'hot' and
--   'sweep' (the loops of the service of these names; 'sweep' is also webhook-router reconcile), 'kafka' (it came as a record),
--   'gateway' and 'intake' (it came in a delivery, and was routed before that was answered, or later), 'call' (a function of
--   the public API, or a command that somebody has run)
-- raises: object_not_in_prerequisite_state if a trigger of the application refuses it: the event would be routed for ever
-- writes: webhook_events, router.parked_events
create or replace function router.mark_routed(p_events router.event[], p_targets router.target[])
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
    v_count integer;
    v_path  text;
begin
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.webhook_events w
    set conversation_id = e.conversation_id, routed_at = pg_catalog.clock_timestamp(), routed_by = e.path,
        parked_until = null
    from rows from (pg_catalog.unnest(p_events), pg_catalog.unnest(p_targets)) e
    where w.id operator(pg_catalog.=) any (array[e.id]);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if v_count < cardinality(p_events)  -- or else a trigger has deleted them: they are out of the way
       and exists (
           select
           from unnest(p_events) e
           cross join lateral (select w.routed_at from public.webhook_events w where w.id = e.id limit 1) w
           where w.routed_at is null
       ) then
        raise exception 'a trigger or rule on webhook_events keeps events from being marked as routed'
            using errcode = 'object_not_in_prerequisite_state', table = 'webhook_events', column = 'routed_at';
    end if;

    -- For all events, not only those claimed as parked: a redelivery or an operator may have ended the wait of others.
    if exists (select from router.parked_events) then
        delete from router.parked_events p
        using unnest(p_events) e
        where p.event_id = any (array[e.id]);
    end if;
end
$function$;
