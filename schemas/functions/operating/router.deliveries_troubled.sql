-- router.deliveries_troubled: deliveries that are not quite in order, counted: not understood by provider and by the kinds of
-- atoms that they have, not in effect by provider and error.
-- takes: received since; how many of either at most (the latest that were not understood, and those not in effect that are
--   due, or were given up, first)
-- returns: a row a group: state, 'unknown', 'waiting' or 'dead'; kinds, sorted, of 'unknown' alone; error, of the others;
--   deliveries; atoms that were not understood; last_received_at and last_id; is_partial: there are more than were looked at
-- reads: router.deliveries by the indexes deliveries_unknown and deliveries_unprocessed
create or replace function router.deliveries_troubled(p_since timestamptz, p_limit integer default 10000)
returns table (
    state text, provider text, kinds text[], error text, deliveries bigint, atoms bigint, last_received_at timestamptz,
    last_id bigint, is_partial boolean
)
language sql
stable
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
    with unknown as materialized (
        select d.id, d.provider, d.received_at, d.kinds
        from router.deliveries d
        where d.has_unknown and d.received_at >= p_since
        order by d.received_at desc
        limit p_limit
    ), unprocessed as materialized (
        select d.id, d.provider, d.received_at, d.error, d.next_attempt_at
        from router.deliveries d
        where d.processed_at is null
        order by d.next_attempt_at desc, d.id desc
        limit p_limit
    ), known as (
        select 'unknown' as state, u.provider,
               array(select k.kind from jsonb_object_keys(u.kinds) as k (kind) order by 1) as kinds, null as error, u.id,
               u.received_at, coalesce((u.kinds ->> 'unknown')::bigint, 0) as atoms
        from unknown u
        union all
        select case when u.next_attempt_at = 'infinity' then 'dead' else 'waiting' end, u.provider, null, u.error, u.id,
               u.received_at, 0
        from unprocessed u
        where u.received_at >= p_since
    )
    select k.state, k.provider, k.kinds, k.error, count(*), sum(k.atoms)::bigint, max(k.received_at),
           (array_agg(k.id order by k.received_at desc, k.id desc))[1],
           case k.state when 'unknown' then (select count(*) from unknown) else (select count(*) from unprocessed) end >= p_limit
    from known k
    group by k.state, k.provider, k.kinds, k.error
    order by k.state <> 'unknown', k.state <> 'dead', count(*) desc, max(k.received_at) desc, k.provider, k.error
$function$;
