-- router.note_names: the latest name of each author becomes the display name of the channel, and the full name of the contact
-- unless somebody has given it another one.
-- takes: events and their targets
-- returns: false if another batch has changed one of these names since it was looked up, and ours is later: look again
-- writes: contact_channels (also if only the time changes: it decides about names that arrive late), contacts
-- locks: channels in the order of their key; contacts that are renamed were locked by router.make_targets
create or replace function router.note_names(p_events router.event[], p_targets router.target[])
returns boolean
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
    -- The event with the latest name of each author, in the order of the channels' keys.
    v_events  router.event[];
    v_targets router.target[];
    v_moved   uuid[];
    v_ahead   constant timestamptz := clock_timestamp() + interval '1 day';  -- as in router.find_targets
    v_path    text;
begin
    if cardinality(p_events) > 1 then
        select array_agg(p_events[n.ordinality]), array_agg(p_targets[n.ordinality]) into v_events, v_targets
        from (
            select distinct on (e.channel collate "C", e.author_id collate "C") e.ordinality
            from rows from (unnest(p_events), unnest(p_targets)) with ordinality e
            where not e.has_message and e.name_is_news
            order by e.channel collate "C", e.author_id collate "C", e.ranked_at desc, e.author_name collate "C" desc
        ) n;
    elsif not p_targets[1].has_message and p_targets[1].name_is_news then
        v_events := p_events;
        v_targets := p_targets;
    end if;
    if v_events is null then
        return true;
    end if;

    -- One pass over all of them: two would take locks in two orders.
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    with moved as (
        update public.contact_channels k
        set display_name = n.author_name, display_name_at = n.ranked_at
        from rows from (pg_catalog.unnest(v_events), pg_catalog.unnest(v_targets)) n
        where k.id operator(pg_catalog.=) any (array[n.channel_id])
          and (k.display_name operator(pg_catalog.=) n.known_name or k.display_name is null and n.known_name is null)
          and (k.display_name_at is null or k.display_name_at operator(pg_catalog.>) v_ahead
               or k.display_name_at operator(pg_catalog.<) n.ranked_at
               or k.display_name_at operator(pg_catalog.=) n.ranked_at
                  and coalesce(k.display_name, '') operator(pg_catalog.<) n.author_name collate pg_catalog."C")
        returning k.id, k.contact_id, n.author_name, n.known_name
    ), renamed as (
        update public.contacts c
        set full_name = m.author_name, updated_at = pg_catalog.now()
        from moved m
        where c.id operator(pg_catalog.=) any (array[m.contact_id])
          and (m.author_name operator(pg_catalog.=) m.known_name) is not true
          and (c.full_name is null or c.full_name operator(pg_catalog.=) m.known_name)
    )
    select coalesce(pg_catalog.array_agg(m.id), '{}') into v_moved from moved m;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    if cardinality(v_moved) = cardinality(v_events) then
        return true;
    end if;
    return not exists (
        select
        from rows from (unnest(v_events), unnest(v_targets)) n
        cross join lateral (
            select k.id, k.display_name, k.display_name_at
            from public.contact_channels k
            where k.id = n.channel_id
            limit 1
        ) k
        where k.id <> all (v_moved)
          and k.display_name is distinct from n.known_name  -- if it is the same, a trigger of the application has kept it
          and (k.display_name_at is null or k.display_name_at > v_ahead or k.display_name_at < n.ranked_at
               or k.display_name_at = n.ranked_at and coalesce(k.display_name, '') < n.author_name collate "C")
    );
end
$function$;
