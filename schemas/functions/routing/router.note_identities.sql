-- router.note_identities: notes what events tell of the identities of their authors on the channels of these.
-- takes: events; only those count whose "normalized" has identities
-- reads: contact_channels by key
-- writes: contact_channels.metadata, see router.identity_metadata; only where it changes
-- locks: if any changes, the channels of all authors and identities in the order of their key, as router.note_names does later
create or replace function router.note_identities(p_events router.event[])
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
    v_rows     uuid[];
    v_kinds    text[];
    v_names    text[];
    v_times    timestamptz[];
    v_channels text[];
    v_ids      text[];
    v_path     text;
begin
    select array_agg(k.id), array_agg(t.kind), array_agg(t.username), array_agg(t.told_at)
    into v_rows, v_kinds, v_names, v_times
    from (
        select e.channel, p.person ->> 'id' as id, max(p.person ->> 'kind') as kind,
               (array_agg(p.person ->> 'username' order by e.ranked_at desc, (p.person ->> 'username') collate "C" desc)
                filter (where p.person ->> 'username' is not null))[1] as username,
               max(e.ranked_at) filter (where p.person ->> 'username' is not null) as told_at
        from unnest(p_events) e
        cross join lateral jsonb_array_elements(e.normalized -> 'people') p (person)
        where e.normalized ? 'people'
        group by e.channel, p.person ->> 'id'
    ) t
    cross join lateral (
        select k.id, k.metadata
        from public.contact_channels k
        where k.channel = t.channel and k.external_id = t.id
        limit 1
    ) k
    where router.identity_metadata(k.metadata, t.kind, t.username, t.told_at) <> coalesce(k.metadata, '{}');
    if v_rows is null then
        return;
    end if;

    select array_agg(t.channel), array_agg(t.id) into v_channels, v_ids
    from (
        select distinct e.channel collate "C" as channel, p.id collate "C" as id
        from unnest(p_events) e
        cross join lateral (
            select e.author_id as id
            union all
            select p.person ->> 'id' from jsonb_array_elements(e.normalized -> 'people') p (person)
        ) p
        where p.id is not null
        order by 1, 2
    ) t;
    perform
    from unnest(v_channels, v_ids) t (channel, id)
    cross join lateral (
        select from public.contact_channels k
        where k.channel = t.channel and k.external_id = t.id
        limit 1
        for no key update
    ) k;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.contact_channels k
    set metadata = router.identity_metadata(k.metadata, v_kinds[r.ordinality], v_names[r.ordinality], v_times[r.ordinality])
    from pg_catalog.unnest(v_rows) with ordinality r (id, ordinality)
    where k.id operator(pg_catalog.=) any (array[r.id]);
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
end
$function$;
