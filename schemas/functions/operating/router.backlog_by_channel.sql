-- router.backlog_by_channel: what is ready, by its channel. Cheap however much that is: counting ends at a bound.
-- takes: p_seconds: as router.recent_backlog; p_limit: how many events are counted at most, the oldest ones
-- returns: a row a channel, the one with the oldest event first, a hundred at most: how many are ready; the age of the oldest
--   whose time of arrival is finite (0 if there is none, or if it is in the future); is_partial, the same in all rows: counting
--   has ended at the bound, or there are more channels
-- reads: public.webhook_events through router_ready_by_arrival
create or replace function router.backlog_by_channel(
    p_seconds double precision default null, p_limit integer default 20000,
    out channel text, out ready bigint, out oldest_seconds double precision, out is_partial boolean
)
returns setof record
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
    v_from  timestamptz := case when p_seconds <= 1e10 then now() - make_interval(secs => p_seconds) else '-infinity' end;
    v_limit integer := coalesce(greatest(p_limit, 0), 20000);
begin
    -- As router.recent_backlog counts them.
    return query
    select left(c.channel, 200), c.ready, greatest(coalesce(extract(epoch from now() - c.oldest), 0), 0)::double precision,
           sum(c.ready) over () >= v_limit or count(*) over () > 100
    from (
        select w.channel, count(*) as ready, min(w.created_at) filter (where isfinite(w.created_at)) as oldest
        from (
            (select w.channel, w.created_at
             from public.webhook_events w
             where w.routed_at is null and w.parked_until is null and w.created_at >= v_from
             order by w.created_at, w.id
             limit v_limit)
            union all
            (select w.channel, w.created_at
             from public.webhook_events w
             where w.routed_at is null and w.parked_until is null and w.created_at is null
             order by w.created_at, w.id
             limit v_limit)
            union all
            (select w.channel, w.created_at
             from public.webhook_events w
             where w.routed_at is null and w.parked_until is null and w.created_at <= '-infinity' and v_from > '-infinity'
             order by w.created_at, w.id
             limit v_limit)
            limit v_limit
        ) w
        group by w.channel
    ) c
    order by c.oldest, c.channel collate "C"
    limit 100;
end
$function$;
