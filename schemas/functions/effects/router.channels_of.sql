-- router.channels_of: the rows of contact_channels that effects are about.
-- takes: effects with a person
-- returns: for each, in the same order, the key of the row of that identity as it came, or else of another spelling of it; null if
--   there is none
-- reads: contact_channels by key
create or replace function router.channels_of(p_effects router.effect[])
returns uuid[]
language plpgsql
volatile  -- each call sees what others have committed since the last one
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
begin
    return (
        select array_agg(k.id order by e.ordinality)
        from unnest(p_effects) with ordinality e
        left join lateral (
            select k.id
            from unnest(array[e.person, e.canonical] || e.forms) with ordinality f (external_id, rank)
            cross join lateral (
                select k.id
                from public.contact_channels k
                where k.channel = e.channel and k.external_id >= f.external_id and k.external_id <= f.external_id
                order by k.external_id
                limit 1
            ) k
            order by f.rank
            limit 1
        ) k on true
    );
end
$function$;
