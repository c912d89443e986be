-- router.deliveries_list: deliveries without their bodies, the latest first.
-- takes: which ones, null for any: provider; kind, of one of their atoms; state: 'unknown' (something of it was not
--   understood), 'waiting' (it is not processed, and will be tried again), 'dead' (it will not) or 'troubled' (any of these);
--   received since, and before (with p_before_id: the last row of the page before); how many at most
-- returns: them; size: of the body as it is stored, null if it was scrubbed
-- reads: router.deliveries
create or replace function router.deliveries_list(
    p_provider text default null, p_kind text default null, p_state text default null, p_since timestamptz default null,
    p_before timestamptz default null, p_before_id bigint default null, p_limit integer default 50
)
returns table (
    id bigint, provider text, account text, received_at timestamptz, size integer, version integer, kinds jsonb,
    has_unknown boolean, processed_at timestamptz, error text, attempts integer, next_attempt_at timestamptz
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $function$
    select d.id, d.provider, d.account, d.received_at, octet_length(d.body), d.version, d.kinds, d.has_unknown, d.processed_at,
           d.error, d.attempts, d.next_attempt_at
    from router.deliveries d
    where (p_provider is null or d.provider = p_provider)
      and (p_kind is null or d.kinds ? p_kind)
      and (p_state is null
           or p_state in ('unknown', 'troubled') and d.has_unknown
           or p_state in ('waiting', 'troubled') and d.processed_at is null and d.next_attempt_at < 'infinity'
           or p_state in ('dead', 'troubled') and d.processed_at is null and d.next_attempt_at = 'infinity')
      and (p_since is null or d.received_at >= p_since)
      and (p_before is null or (d.received_at, d.id) < (p_before, coalesce(p_before_id, 0)))
    order by d.received_at desc, d.id desc
    limit p_limit
$function$;
