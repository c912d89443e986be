-- router.link_identities: notes on the channels of a person's identities that they are of one person, if they belong to
-- contacts that were made apart.
-- takes: the channel; identities, an array of objects with an id
-- writes: contact_channels.metadata: same_as, the id of one that another contact has
-- locks: these channels, in the order of their ids
create or replace function router.link_identities(p_channel text, p_people jsonb)
returns void
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
    v_rows   uuid[];
    v_others text[];
    v_path   text;
begin
    with known as materialized (
        select k.id, k.contact_id, k.external_id, k.metadata, p.place
        from (
            select p.person ->> 'id' as id, p.place
            from jsonb_array_elements(p_people) with ordinality p (person, place)
            order by (p.person ->> 'id') collate "C"
            offset 0
        ) p
        cross join lateral (
            select k.id, k.contact_id, k.external_id, k.metadata
            from public.contact_channels k
            where k.channel = p_channel and k.external_id = p.id
            limit 1
            for no key update
        ) k
    )
    select array_agg(k.id), array_agg(o.external_id) into v_rows, v_others
    from known k
    cross join lateral (
        select o.external_id from known o where o.contact_id <> k.contact_id order by o.place limit 1
    ) o
    where not coalesce(k.metadata, '{}') ? 'same_as';
    if v_rows is null then
        return;
    end if;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.contact_channels k
    set metadata = coalesce(k.metadata, '{}')
                   operator(pg_catalog.||) pg_catalog.jsonb_build_object('same_as', v_others[r.ordinality])
    from pg_catalog.unnest(v_rows) with ordinality r (id, ordinality)
    where k.id operator(pg_catalog.=) any (array[r.id]);
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
end
$function$;
