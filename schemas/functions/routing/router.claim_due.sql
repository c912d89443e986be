-- router.claim_due: locks up to p_limit parked events whose next attempt is due.
-- takes: p_channel null for every channel; p_path as router.as_event
-- returns: the events, longest due first; null if there is none
-- reads: public.webhook_events through router_parked_by_next_attempt
-- locks: the claimed rows; rows that another batch holds are skipped
create or replace function router.claim_due(p_channel text, p_limit integer, p_path text default null)
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
        select array_agg(router.as_event(c.w, p_path))
        from (
            select w
            from public.webhook_events w
            where w.routed_at is null and w.parked_until is not null and w.parked_until <= now()
              and (p_channel is null or w.channel = p_channel)
            order by w.parked_until
            limit p_limit
            for no key update skip locked
        ) c
    );
end
$function$;
