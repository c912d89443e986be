-- router.deliveries_kinds: which kinds of atoms deliveries brought, and how many, the most frequent first.
-- takes: which deliveries: provider, how old at most; null for all
-- returns: a row a provider and kind: how many deliveries had such atoms, how many atoms these were, and the last one's arrival
-- reads: router.deliveries
create or replace function router.deliveries_kinds(p_provider text default null, p_since timestamptz default null)
returns table (provider text, kind text, deliveries bigint, atoms bigint, last_received_at timestamptz)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $function$
    select d.provider, k.key, count(*), sum(k.value::bigint)::bigint, max(d.received_at)
    from router.deliveries d
    cross join lateral jsonb_each_text(d.kinds) k
    where (p_provider is null or d.provider = p_provider) and (p_since is null or d.received_at >= p_since)
    group by d.provider, k.key
    order by 4 desc, 1, 2
$function$;
