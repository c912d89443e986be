-- router.deliveries_show: one delivery, with its body as it is stored: compressed by zlib where is_compressed says so.
-- takes: its id
-- returns: it, or no row
-- reads: router.deliveries by key
create or replace function router.deliveries_show(p_id bigint)
returns table (
    id bigint, provider text, account text, received_at timestamptz, body bytea, is_compressed boolean, digest bytea,
    version integer, kinds jsonb, has_unknown boolean, processed_at timestamptz, error text, attempts integer,
    next_attempt_at timestamptz
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
    select d.id, d.provider, d.account, d.received_at, d.body, d.is_compressed, d.digest, d.version, d.kinds, d.has_unknown,
           d.processed_at, d.error, d.attempts, d.next_attempt_at
    from router.deliveries d
    where d.id = p_id
$function$;
