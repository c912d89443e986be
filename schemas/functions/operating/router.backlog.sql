-- router.backlog: what is waiting, counted from the partial indexes alone.
-- returns: ready, and oldest_seconds, the age of the oldest of them (0 if there is none); parked (another attempt will come);
--   dead (no attempt is left, an operator decides); notification_queue, the share of the server's queue that is in use;
--   discarded (an operator has decided)
create or replace function router.backlog(
    out ready bigint, out oldest_seconds double precision, out parked bigint, out dead bigint,
    out notification_queue double precision, out discarded bigint
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
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
    select count(*) into discarded
    from router.parked_events p
    cross join lateral (
        select w.routed_at, w.parked_until
        from public.webhook_events w
        where w.id = p.event_id
        offset 0  -- by the primary key: no partial index applies while the conditions are outside
    ) w
    where p.discarded_at is not null and w.routed_at is null and w.parked_until = 'infinity';
    dead := dead - discarded;
    notification_queue := pg_notification_queue_usage();
end
$function$;
