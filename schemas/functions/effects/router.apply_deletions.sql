-- router.apply_deletions: a message that its author has deleted stays as a row that says nothing.
-- takes: effects of the kind "delete", with message_id
-- returns: how many messages said something until now, or were deleted earlier than was known
-- reads: webhook_events by key
-- writes: public.messages, public.message_revisions, router.silent_edits; see also router.note_deletions, router.scrub_events
-- locks: webhook_events in the order of their key, as whoever stores events, then messages in the order of their id
create or replace function router.apply_deletions(p_effects router.effect[])
returns integer
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
    v_ids      uuid[];
    v_types    text[];
    v_metadata jsonb[];
    v_all      uuid[];
    v_path     text;
begin
    perform router.note_deletions(p_effects);
    -- The event of a message that was found by a part of its id has another one than the effect names.
    perform router.scrub_events(array_agg(m.channel), array_agg(m.provider_message_id), array_agg(e.at))
    from unnest(p_effects) e
    cross join lateral (
        select m.channel, m.provider_message_id from public.messages m where m.id = e.message_id limit 1
    ) m
    where m.provider_message_id is distinct from e.target;

    with locked as materialized (
        select m.id, m.content_text, m.media_url, m.message_type, m.metadata, e.at, w.message_type as first_type
        from (
            select e.message_id, min(e.at) as at from unnest(p_effects) e group by e.message_id order by e.message_id
        ) e
        cross join lateral (
            select m.id, m.content_text, m.media_url, m.message_type, m.metadata, m.channel, m.provider_message_id
            from public.messages m
            where m.id = e.message_id
            limit 1
            for no key update
        ) m
        -- An edit or media may have given it another type, or might have, had they come before this.
        left join lateral (
            select coalesce(w.normalized ->> 'message_type', 'text') as message_type
            from public.webhook_events w
            where w.channel = m.channel and w.event_id >= m.provider_message_id and w.event_id <= m.provider_message_id
              and w.normalized is not null
            order by w.event_id
            limit 1
        ) w on true
    ), scrubbed as materialized (
        select l.*, router.scrubbed(l.metadata)
                    || jsonb_build_object('deleted_at', router.iso_of(
                           least(router.time_of(l.metadata ->> 'deleted_at'), l.at))) as scrubbed
        from locked l
    )
    select array_agg(s.id), array_agg(s.id) filter (where s.is_news), array_agg(s.scrubbed) filter (where s.is_news),
           array_agg(coalesce(s.first_type, s.message_type)) filter (where s.is_news)
    into v_all, v_ids, v_metadata, v_types
    from (
        select s.*, s.content_text is not null or s.media_url is not null or s.scrubbed is distinct from s.metadata as is_news
        from scrubbed s
    ) s;
    if v_ids is not null then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.messages m
        set content_text = null, media_url = null, message_type = n.message_type, metadata = n.metadata
        from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_types), pg_catalog.unnest(v_metadata))
             n (id, message_type, metadata)
        where m.id operator(pg_catalog.=) any (array[n.id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    if exists (
        select from unnest(v_all) n (id)
        cross join lateral (select from public.message_revisions r where r.message_id = n.id limit 1) r
    ) then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        delete from public.message_revisions r where r.message_id operator(pg_catalog.=) any (v_all);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    delete from router.silent_edits s where s.message_id = any (v_all);
    return coalesce(cardinality(v_ids), 0);
end
$function$;
