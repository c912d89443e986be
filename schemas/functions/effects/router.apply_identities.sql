-- router.apply_identities: somebody has another number, or another user id, from now on: a further channel of the same contact.
-- One that somebody else has already stays with them, and nothing becomes of it.
-- takes: effects of the kind "system", whose person is the identity that was known until now; content: id, identity_kind and
--   username of the further one, and its canonical form and forms, its other spellings, where it has some
-- returns: the places of those whose person is not known
-- reads: contact_channels by key
-- writes: public.contact_channels
-- locks: as router.join_identities: the canonical ids of new identities by hash
create or replace function router.apply_identities(p_effects router.effect[])
returns integer[]
language plpgsql
volatile
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
declare
    v_persons  integer[];
    v_left     integer[] := array(select e.ordinality from unnest(p_effects) with ordinality e order by e.ordinality);
    v_waits    integer[];
    v_added    boolean := true;
    v_effect   router.effect;
    v_contact  uuid;
    v_known    record;
    v_metadata jsonb;
    v_path     text;
begin
    v_persons := array(
        select distinct hashtext(e.channel || ' ' || coalesce(e.content ->> 'canonical', e.content ->> 'id'))
        from unnest(p_effects) e
        where e.content ->> 'id' is not null
    );
    if cardinality(v_persons) > 64 then
        perform pg_advisory_xact_lock(1920298106, 0);  -- lock: all people
    else
        perform pg_advisory_xact_lock_shared(1920298106, 0);  -- lock: all people
        perform pg_advisory_xact_lock(1920298105, p.person)  -- lock: person
        from (select p.person from unnest(v_persons) p (person) order by p.person offset 0) p;
    end if;

    -- One may tell of the person whom another one, later in the call, makes known.
    while v_added and v_left <> '{}' loop
        v_added := false;
        v_waits := '{}';
        for v_place in 1..cardinality(v_left) loop
            v_effect := p_effects[v_left[v_place]];
            continue when coalesce(v_effect.content ->> 'id', '') = '';
            v_contact := (
                select k.contact_id
                from unnest(router.channels_of(array[v_effect])) c (id)
                cross join lateral (select k.contact_id from public.contact_channels k where k.id = c.id limit 1) k
            );
            if v_contact is null then
                v_waits := v_waits || v_left[v_place];
                continue;
            end if;
            select k.id, k.contact_id, k.metadata into v_known
            from jsonb_array_elements_text(
                     jsonb_build_array(v_effect.content -> 'id') || coalesce(v_effect.content -> 'forms', '[]')
                 ) with ordinality f (external_id, rank)
            cross join lateral (
                select k.id, k.contact_id, k.metadata
                from public.contact_channels k
                where k.channel = v_effect.channel and k.external_id >= f.external_id and k.external_id <= f.external_id
                order by k.external_id
                limit 1
            ) k
            order by f.rank
            limit 1;
            continue when v_known.id is not null and v_known.contact_id <> v_contact;
            v_metadata := router.identity_metadata(
                v_known.metadata, nullif(v_effect.content ->> 'identity_kind', 'phone'), v_effect.content ->> 'username',
                v_effect.at);
            if v_known.id is null then
                v_path := pg_catalog.set_config('search_path', router.application_path(), true);
                insert into public.contact_channels (contact_id, channel, external_id, is_primary, metadata)
                values (v_contact, v_effect.channel, v_effect.content operator(pg_catalog.->>) 'id', false, v_metadata)
                on conflict (channel, external_id) do nothing;
                v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                v_added := true;
            elsif v_metadata is distinct from coalesce(v_known.metadata, '{}') then
                v_path := pg_catalog.set_config('search_path', router.application_path(), true);
                update public.contact_channels k
                set metadata = v_metadata
                where k.id operator(pg_catalog.=) any (array[v_known.id]);
                v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            end if;
        end loop;
        v_left := v_waits;
    end loop;
    return array(
        select e.place from unnest(p_effects) with ordinality e where e.ordinality = any (v_left) order by e.ordinality
    );
end
$function$;
