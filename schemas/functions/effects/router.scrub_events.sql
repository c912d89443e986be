-- router.scrub_events: takes away what events say of messages which their authors have deleted, and marks them: a redelivery
-- adds nothing to them.
-- takes: the keys of the events, by channel and event_id, and when each was deleted
-- returns: how many said something
-- writes: public.webhook_events: content, raw_payload, normalized (deleted_at)
-- locks: events in the order of their key
create or replace function router.scrub_events(p_channels text[], p_event_ids text[], p_deleted_at timestamptz[])
returns integer
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
    v_ids        uuid[];
    v_normalized jsonb[];
    v_path       text;
begin
    select array_agg(s.id), array_agg(s.normalized)
    into v_ids, v_normalized
    from (
        select w.id, w.content, w.raw_payload, w.normalized as old,
               (router.object_of(w.normalized) - 'media_url')
               || case when w.normalized ? 'metadata'
                       then jsonb_build_object('metadata', router.scrubbed(w.normalized -> 'metadata')) else '{}' end
               || jsonb_build_object('deleted_at', router.iso_of(
                      least(router.time_of(w.normalized ->> 'deleted_at'), e.deleted_at))) as normalized
        from (
            select e.channel, e.event_id, min(e.deleted_at) as deleted_at
            from unnest(p_channels, p_event_ids, p_deleted_at) e (channel, event_id, deleted_at)
            where e.event_id is not null
            group by e.channel, e.event_id
            order by e.channel collate "C", e.event_id collate "C"
        ) e
        cross join lateral (
            select w.id, w.content, w.raw_payload, w.normalized
            from public.webhook_events w
            where w.channel = e.channel and w.event_id >= e.event_id and w.event_id <= e.event_id
            order by w.event_id
            limit 1
            for no key update
        ) w
    ) s
    where s.content is not null or s.raw_payload <> '{}' or s.normalized is distinct from s.old;
    if v_ids is null then
        return 0;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.webhook_events w
    set content = null, raw_payload = '{}', normalized = n.normalized
    from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_normalized)) n (id, normalized)
    where w.id operator(pg_catalog.=) any (array[n.id]);
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    return cardinality(v_ids);
end
$function$;
