-- router.backlog: what is waiting, counted from the partial indexes alone.
-- returns: ready and the age of the oldest of them (0 when there is none); parked (another attempt will come); dead (none
--   will); share of the server's notification queue in use
create or replace function router.backlog(
    out ready bigint, out oldest_seconds double precision, out parked bigint, out dead bigint,
    out notification_queue double precision
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
begin
    select count(*), coalesce(extract(epoch from now() - min(w.created_at)), 0) into ready, oldest_seconds
    from public.webhook_events w
    where w.routed_at is null and w.parked_until is null;
    select count(*) filter (where w.parked_until < 'infinity'), count(*) filter (where w.parked_until = 'infinity')
    into parked, dead
    from public.webhook_events w
    where w.routed_at is null and w.parked_until is not null;
    notification_queue := pg_notification_queue_usage();
end
$function$;
