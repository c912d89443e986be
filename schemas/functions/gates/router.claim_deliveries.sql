-- router.claim_deliveries: deliveries that were stored without being processed, or whose processing has failed, the one that
-- is due longest first. Whoever calls it hands them to router.take_deliveries with their ids; another caller gets them again
-- after half a minute, or as much later as their number of attempts asks for, see router.next_attempt.
-- takes: how many at most; how many bytes of bodies at most, but for the first one
-- returns: them. A delivery counts as attempted from here on, so that one which ends whoever reads it is not read for ever
-- writes: router.deliveries (attempts, next_attempt_at)
-- locks: them; those that others have locked are left to them
create or replace function router.claim_deliveries(p_limit integer default 20, p_bytes bigint default 8388608)
returns table (
    id bigint, provider text, account text, received_at timestamptz, body bytea, is_compressed boolean, digest bytea,
    version integer, attempts integer
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
set jit = off
as $function$
begin
    return query
    with due as materialized (
        select d.id, d.received_at, d.next_attempt_at, octet_length(d.body) as size
        from router.deliveries d
        where d.processed_at is null and d.next_attempt_at <= now()
        order by d.next_attempt_at, d.id
        limit p_limit
        for no key update skip locked
    ), taken as materialized (
        select s.id, s.received_at
        from (
            select d.id, d.received_at, d.next_attempt_at,
                   sum(d.size) over w - coalesce(d.size, 0) as before, sum(d.size) over w as upto
            from due d
            window w as (order by d.next_attempt_at, d.id)
        ) s
        where coalesce(s.upto, 0) <= p_bytes or coalesce(s.before, 0) = 0
    )
    update router.deliveries d
    set attempts = d.attempts + 1,
        next_attempt_at = greatest(router.next_attempt(d.attempts + 1), now() + interval '30 seconds')
    from taken t
    where d.id = any (array[t.id]) and d.received_at = t.received_at
    returning d.id, d.provider, d.account, d.received_at, d.body, d.is_compressed, d.digest, d.version, d.attempts;
end
$function$;
