-- router.intake_backlog: what is stored and not in effect, for gauges. Cheap however much that is: counting ends at a bound.
-- takes: how many rows of each kind of thing are counted at most
-- returns: waiting: {kind: number} of the effects that wait for what they change; waiting_seconds: for how long the oldest of
--   them waits, 0 without any; deferred, deferred_seconds: the same of deliveries that will be tried again
-- reads: router.waiting, router.deliveries by index
create or replace function router.intake_backlog(
    p_limit integer default 10000, out waiting jsonb, out waiting_seconds double precision,
    out deferred bigint, out deferred_seconds double precision
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    v_oldest timestamptz;
begin
    select coalesce(jsonb_object_agg(k.kind, k.number), '{}') into waiting
    from (
        select w.kind, count(*) as number
        from (select w.kind from router.waiting w order by w.received_at limit p_limit) w
        group by w.kind
    ) k;
    select w.received_at into v_oldest from router.waiting w order by w.received_at limit 1;
    waiting_seconds := coalesce(greatest(extract(epoch from now() - v_oldest), 0), 0);

    select count(*), min(d.received_at)
    into deferred, v_oldest
    from (
        select d.received_at
        from router.deliveries d
        where d.processed_at is null and d.next_attempt_at < 'infinity'
        order by d.next_attempt_at
        limit p_limit
    ) d;
    deferred_seconds := coalesce(greatest(extract(epoch from now() - v_oldest), 0), 0);
end
$function$;
