-- router.apply_handovers: notes which app has a conversation; the latest word counts. It opens none.
-- takes: effects of the kind "handover"; content: owner
-- returns: the places of those whose person has no open conversation with the account
-- reads: contact_channels by key, conversations by contact
-- writes: public.conversations (metadata: owner, owner_at, owner_ord)
-- locks: conversations in the order of their id
create or replace function router.apply_handovers(p_effects router.effect[])
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
    v_found    uuid[];  -- the conversation of each effect
    v_ids      uuid[];
    v_metadata jsonb[];
    v_path     text;
begin
    select array_agg(v.id order by e.ordinality) into v_found
    from unnest(p_effects) with ordinality e
    left join lateral (
        select v.id
        from (select k.contact_id from public.contact_channels k where k.id = v_channels[e.ordinality] limit 1) k
        cross join lateral (
            select v.id, v.account_id, v.created_at
            from public.conversations v
            where v.contact_id = k.contact_id and v.channel is not distinct from e.channel
              and v.status is not distinct from 'open'
              and (v.account_id = e.account or v.account_id is null or e.account is null)
            offset 0
        ) v
        order by v.account_id is null, v.created_at desc, v.id desc
        limit 1
    ) v on true;

    select array_agg(v.id order by v.id),
           array_agg(v.metadata || jsonb_build_object('owner', v.content ->> 'owner', 'owner_at', router.iso_of(v.at),
                                                      'owner_ord', v.ord) order by v.id)
    into v_ids, v_metadata
    from (
        select v.id, router.object_of(v.metadata) as metadata, e.content, e.at, e.ord
        from (
            select distinct on (e.conversation_id) e.*
            from (
                select v_found[e.ordinality] as conversation_id, e.content, e.at, coalesce(nullif(e.ord, ''), e.atom_id) as ord
                from unnest(p_effects) with ordinality e
            ) e
            order by e.conversation_id, e.at desc, e.ord collate "C" desc
        ) e
        cross join lateral (
            select v.id, v.metadata from public.conversations v where v.id = e.conversation_id limit 1 for no key update
        ) v
    ) v
    where (coalesce(router.time_of(v.metadata ->> 'owner_at'), '-infinity'),
           coalesce(v.metadata ->> 'owner_ord', '') collate "C") < (v.at, v.ord);
    if v_ids is not null then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.conversations v
        set metadata = n.metadata, updated_at = pg_catalog.now()
        from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_metadata)) n (id, metadata)
        where v.id operator(pg_catalog.=) any (array[n.id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    return array(
        select e.place from unnest(p_effects) with ordinality e where v_found[e.ordinality] is null order by e.ordinality
    );
end
$function$;
