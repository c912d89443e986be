-- router.route_one: routes one event, by its id, unless another session has claimed or routed it. The service calls it when a
-- batch of one was too slow, since no handler inside the database catches that, and the next batch may begin elsewhere.
-- takes: p_untried: park the event instead of routing it, see router.park_untried; p_path: by which path it is routed, see
--   router.mark_routed
-- returns: as router.route_batch; claimed is 0 if there was nothing to do
-- locks: the event; if another batch holds it, it is left to that batch
create or replace function router.route_one(p_id uuid, p_untried boolean default false, p_path text default 'call')
returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    v_events router.event[] := (
        select array_agg(router.as_event(c.w, p_path))
        from (
            select w
            from public.webhook_events w
            where w.id = p_id and w.routed_at is null and (w.parked_until is null or w.parked_until <= now())
            for no key update skip locked
        ) c
    );
begin
    return case when p_untried then router.park_untried(v_events) else router.route_claimed(v_events, 1) end;
end
$function$;
