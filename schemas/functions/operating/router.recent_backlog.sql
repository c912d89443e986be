-- router.recent_backlog: what is waiting, counted from the partial indexes alone.
-- takes: p_seconds: of what is ready count only what arrived at most so long ago, and what has no finite time of arrival;
--   null counts all
-- returns: ready, and oldest_seconds, the age of the oldest of them whose time of arrival is finite (0 if there is none, or
--   if it is in the future); parked (another attempt will come); dead (no attempt is left, an operator decides);
--   notification_queue, the share of the server's queue that is in use; discarded (an operator has decided)
-- reads: public.webhook_events through router_ready_by_arrival and router_parked_by_next_attempt, in their order: an index of
--   the application on routed_at would do as well otherwise, and has a dead entry for each event that was ever routed
-- raises: see router.refuse_hidden_rows
create or replace function router.recent_backlog(
    p_seconds double precision,
    out ready bigint, out oldest_seconds double precision, out parked bigint, out dead bigint,
    out notification_queue double precision, out discarded bigint
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_from timestamptz := case when p_seconds <= 1e10 then now() - make_interval(secs => p_seconds) else '-infinity' end;
begin
    perform router.refuse_hidden_rows();
    -- "offset 0" keeps the planner from dropping an order that counting does not need. "=" would have the primary key give
    -- the rest of it.
    select count(*), coalesce(extract(epoch from now() - min(w.created_at) filter (where isfinite(w.created_at))), 0)
    into ready, oldest_seconds
    from (
        (select w.created_at
         from public.webhook_events w
         where w.routed_at is null and w.parked_until is null and w.created_at >= v_from
         order by w.created_at, w.id
         offset 0)
        union all
        (select w.created_at
         from public.webhook_events w
         where w.routed_at is null and w.parked_until is null and w.created_at is null
         order by w.created_at, w.id
         offset 0)
        union all
        (select w.created_at
         from public.webhook_events w
         where w.routed_at is null and w.parked_until is null and w.created_at <= '-infinity' and v_from > '-infinity'
         order by w.created_at, w.id
         offset 0)
    ) w;
    oldest_seconds := greatest(oldest_seconds, 0);
    select count(*) filter (where w.parked_until < 'infinity'), count(*) filter (where w.parked_until = 'infinity')
    into parked, dead
    from (
        select w.parked_until
        from public.webhook_events w
        where w.routed_at is null and w.parked_until is not null
        order by w.parked_until
        offset 0
    ) w;
    select count(*) into discarded
    from (
        select p.event_id
        from router.parked_events p
        where p.discarded_at is not null
        order by p.discarded_at
        offset 0
    ) p
    cross join lateral (
        select w.routed_at, w.parked_until
        from public.webhook_events w
        where w.id = p.event_id
        offset 0  -- by the primary key: no partial index applies while the conditions are outside
    ) w
    where w.routed_at is null and w.parked_until = 'infinity';
    dead := dead - discarded;
    notification_queue := pg_notification_queue_usage();
end
$function$;
