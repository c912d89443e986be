-- router.apply_marketing: notes whether somebody wants marketing messages; the latest word counts, for all spellings of a number.
-- takes: effects of the kind "marketing"; content: value, stop or resume
-- returns: the places of those whose person is not known
-- writes: public.contact_channels (metadata: marketing, marketing_at, marketing_ord)
-- locks: contact_channels in the order of their id
create or replace function router.apply_marketing(p_effects router.effect[])
returns integer[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_channels constant uuid[] := router.channels_of(p_effects);
    v_ids      uuid[];
    v_metadata jsonb[];
    v_path     text;
begin
    select array_agg(k.id order by k.id),
           array_agg(k.metadata || jsonb_build_object('marketing', k.content ->> 'value', 'marketing_at', router.iso_of(k.at),
                                                      'marketing_ord', k.ord) order by k.id)
    into v_ids, v_metadata
    from (
        select k.id, router.object_of(k.metadata) as metadata, e.content, e.at, e.ord
        from (
            select distinct on (e.channel_id) e.*
            from (
                select k.id as channel_id, e.content, e.at, coalesce(nullif(e.ord, ''), e.atom_id) as ord
                from unnest(p_effects) e
                cross join unnest(array[e.person, e.canonical] || e.forms) f (external_id)
                cross join lateral (
                    select k.id
                    from public.contact_channels k
                    where k.channel = e.channel and k.external_id >= f.external_id and k.external_id <= f.external_id
                    order by k.external_id
                    limit 1
                ) k
            ) e
            order by e.channel_id, e.at desc, e.ord collate "C" desc
        ) e
        cross join lateral (
            select k.id, k.metadata from public.contact_channels k where k.id = e.channel_id limit 1 for no key update
        ) k
    ) k
    where (coalesce(router.time_of(k.metadata ->> 'marketing_at'), '-infinity'),
           coalesce(k.metadata ->> 'marketing_ord', '') collate "C") < (k.at, k.ord);
    if v_ids is not null then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.contact_channels k
        set metadata = n.metadata
        from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_metadata)) n (id, metadata)
        where k.id operator(pg_catalog.=) any (array[n.id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    return array(
        select e.place from unnest(p_effects) with ordinality e where v_channels[e.ordinality] is null order by e.ordinality
    );
end
$function$;
