-- router.note_names: the latest name of each author, by event time, becomes the display name of the channel, and the full
-- name of the contact as long as nobody has given it another one.
-- takes: events with their targets
-- writes: contact_channels (also where only the time moves on: it decides about names that come late), contacts
-- locks: channels in the order of their key; contacts that are renamed were locked by router.make_targets
create or replace function router.note_names(p_events router.event[])
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
    v_names router.event[];
    v_kept  integer;
begin
    v_names := array(
        select distinct on (e.channel collate "C", e.author_id collate "C") e
        from unnest(p_events) e
        where not e.has_message and router.name_is_news(e)
        order by e.channel collate "C", e.author_id collate "C", e.sent_at desc, e.author_name collate "C" desc
    );
    if cardinality(v_names) = 0 then
        return;
    end if;

    update public.contact_channels k
    set display_name_at = n.sent_at
    from unnest(v_names) n
    where k.channel = n.channel and k.external_id = n.author_id
      and k.display_name = n.author_name and k.display_name_at < n.sent_at;
    get diagnostics v_kept = row_count;
    if v_kept = cardinality(v_names) then
        return;
    end if;

    -- Somebody has a new name, or another batch was faster. With the rows locked, what is read stays true.
    with held as (
        select k.id, k.contact_id, k.display_name as old_name, n.author_name as new_name, n.sent_at
        from unnest(v_names) n
        join public.contact_channels k on k.channel = n.channel and k.external_id = n.author_id
        where k.display_name_at is null or k.display_name_at < n.sent_at
           or k.display_name_at = n.sent_at and coalesce(k.display_name, '') < n.author_name collate "C"
        order by k.channel collate "C", k.external_id collate "C"
        for no key update of k
    ), renamed as (
        update public.contact_channels k
        set display_name = h.new_name, display_name_at = h.sent_at
        from held h
        where k.id = h.id
    )
    update public.contacts c
    set full_name = h.new_name, updated_at = now()
    from held h
    where c.id = h.contact_id and h.new_name is distinct from h.old_name
      and (c.full_name is null or c.full_name = h.old_name);
end
$function$;
