-- router.deliveries_since: deliveries in the order of their arrival, to be processed once more: see router.take_deliveries,
-- which gets their ids. Those whose bodies were scrubbed are left out.
-- takes: provider; received since, and before (null: now); the last row of the page before; how many at most, and how many bytes
--   of bodies at most, but for the first one
-- returns: them, with their bodies as they are stored
-- reads: router.deliveries by time
create or replace function router.deliveries_since(
    p_provider text, p_since timestamptz, p_before timestamptz default null, p_after timestamptz default null,
    p_after_id bigint default null, p_limit integer default 100, p_bytes bigint default 8388608
)
returns table (
    id bigint, provider text, account text, received_at timestamptz, body bytea, is_compressed boolean, digest bytea,
    version integer, processed_at timestamptz, attempts integer
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
    select p.id, p.provider, p.account, p.received_at, p.body, p.is_compressed, p.digest, p.version, p.processed_at, p.attempts
    from (
        select d.*, sum(octet_length(d.body)) over (order by d.received_at, d.id) as upto
        from (
            select d.*
            from router.deliveries d
            where d.provider = p_provider and d.received_at >= greatest(p_since, p_after)
              and (d.received_at < p_before or p_before is null)
              and (p_after is null or (d.received_at, d.id) > (p_after, coalesce(p_after_id, 0)))
              and d.body is not null
            order by d.received_at, d.id
            limit p_limit
        ) d
    ) p
    where p.upto <= p_bytes or p.upto = octet_length(p.body)
    order by p.received_at, p.id
$function$;
