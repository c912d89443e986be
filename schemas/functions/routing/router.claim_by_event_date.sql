-- router.claim_by_event_date: locks up to p_limit ready events, oldest event_date first, nulls last; then, while there is
-- room, parked events whose next attempt is due.
-- takes: p_channel null for every channel
-- returns: the events; null if there is none
-- reads: public.webhook_events through router_ready_by_event_date and router_parked_by_next_attempt
-- locks: the claimed rows; rows that another batch holds are skipped
create or replace function router.claim_by_event_date(p_channel text, p_limit integer)
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
declare
    v_events router.event[];
begin
    -- Two statements: "p_channel is null or ..." would keep the filter out of the index.
    if p_channel is null then
        v_events := (
            select array_agg(router.as_event(c.w))
            from (
                select w
                from public.webhook_events w
                where w.routed_at is null and w.parked_until is null
                order by w.event_date, w.id
                limit p_limit
                for no key update skip locked
            ) c
        );
    else
        v_events := (
            select array_agg(router.as_event(c.w))
            from (
                select w
                from public.webhook_events w
                where w.routed_at is null and w.parked_until is null and w.channel = p_channel
                order by w.event_date, w.id
                limit p_limit
                for no key update skip locked
            ) c
        );
    end if;
    if coalesce(cardinality(v_events), 0) < p_limit then
        v_events := v_events || router.claim_due(p_channel, p_limit - coalesce(cardinality(v_events), 0));
    end if;
    return v_events;
end
$function$;
