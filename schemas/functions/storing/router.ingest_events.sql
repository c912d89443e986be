-- router.ingest_events: stores events in their order: an event that occurs more than once ends up as if each occurrence had
-- come alone. A redelivery adds what is new in it and never takes anything away. The only implementation of storing.
-- What is new in "normalized" reaches the message as well; a row whose message its author has deleted stays as it is.
-- takes: the columns of webhook_events; channel in any case; type 'comment', or else 'message'; event_date: null for now
-- returns: how many of them are new
-- raises: string_data_right_truncation, with the field and its limit, see router.too_long
-- writes: webhook_events, see also router.renew_messages; a redelivery that changes nothing writes nothing, one that does ends
--   a wait for another attempt
-- locks: new events by channel and event_id, then existing ones in the same order: batches that share events may wait for
--   each other but do not deadlock
create or replace function router.ingest_events(p_events router.incoming[])
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
    v_new      integer;
    v_ids      uuid[];
    v_told     router.incoming[];  -- of these rows, as they have to be
    v_known    jsonb[];            -- and what "normalized" was
    v_more     boolean;            -- it is to be more than it was
    v_path     text;
    v_too_long constant text := (
        select l.reason from (select router.too_long(g) as reason from unnest(p_events) g) l where l.reason is not null limit 1
    );
begin
    if v_too_long is not null then
        raise exception '%', v_too_long using errcode = 'string_data_right_truncation';
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                       conversation_id, raw_payload, normalized)
    select distinct on (router.channel_of(g.channel) collate pg_catalog."C", g.event_id collate pg_catalog."C")
           router.channel_of(g.channel),
           case when pg_catalog.lower(pg_catalog.btrim(g.type) collate pg_catalog."C") operator(pg_catalog.=) 'comment'
                then 'comment' else 'message' end,
           g.event_id, g.author_id, g.author_name, g.content, coalesce(g.event_date, pg_catalog.now()), g.post_id,
           g.conversation_id, coalesce(g.raw_payload, '{}'), g.normalized
    from pg_catalog.unnest(p_events) with ordinality g
    order by router.channel_of(g.channel) collate pg_catalog."C", g.event_id collate pg_catalog."C", g.ordinality
    on conflict (channel, event_id) do nothing;
    get diagnostics v_new = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if v_new = cardinality(p_events) then
        return v_new;
    end if;

    -- The last occurrence that has a value decides, but for the conversation: there it is the first one. Events that were
    -- inserted just now have these values already and are not written again.
    with told as materialized (
        select router.channel_of(g.channel) as channel, g.event_id, min(g.ordinality) as place,
               (array_agg(case when lower(btrim(g.type) collate "C") = 'comment' then 'comment' else 'message' end
                          order by g.ordinality desc))[1] as type,
               (array_agg(g.author_id order by g.ordinality desc) filter (where g.author_id is not null))[1] as author_id,
               (array_agg(g.author_name order by g.ordinality desc) filter (where g.author_name is not null))[1] as author_name,
               (array_agg(g.content order by g.ordinality desc) filter (where g.content is not null))[1] as content,
               (array_agg(g.event_date order by g.ordinality desc) filter (where g.event_date is not null))[1] as event_date,
               (array_agg(g.post_id order by g.ordinality desc) filter (where g.post_id is not null))[1] as post_id,
               (array_agg(g.conversation_id order by g.ordinality) filter (where g.conversation_id is not null))[1]
                   as conversation_id,
               (array_agg(g.raw_payload order by g.ordinality desc) filter (where g.raw_payload is not null))[1] as raw_payload,
               array_agg(g.normalized order by g.ordinality) filter (where g.normalized is not null) as normalized
        from unnest(p_events) with ordinality g
        group by router.channel_of(g.channel), g.event_id
    ), locked as materialized (
        select t.*, coalesce(w.event, r.event) as event
        from (select * from told order by channel collate "C", event_id collate "C") t
        left join lateral (
            select w as event
            from public.webhook_events w
            where w.channel = t.channel and w.event_id >= t.event_id and w.event_id <= t.event_id
            order by w.event_id
            limit 1
            for no key update
        ) w on true
        -- A trigger of the application may have stored it under another key, or not at all.
        left join lateral (
            select w.event
            from (select router.find_event(p_events[t.place]) as id where (w.event).id is null offset 0) f
            cross join lateral (
                select w as event from public.webhook_events w where w.id = f.id limit 1 for no key update
            ) w
        ) r on true
    ), renewed as (
        select (l.event).id,
               row((l.event).channel, l.type, (l.event).event_id,
                   coalesce(l.author_id, (l.event).author_id),
                   coalesce(l.author_name, (l.event).author_name),
                   coalesce(l.content, (l.event).content),
                   coalesce(l.event_date, (l.event).event_date),
                   coalesce(l.post_id, (l.event).post_id),
                   coalesce((l.event).conversation_id, l.conversation_id),
                   coalesce(l.raw_payload, (l.event).raw_payload),
                   case when l.normalized is null then (l.event).normalized
                        else router.merged((l.event).normalized, l.normalized) end)::router.incoming as told,
               l.event
        from locked l
        where (l.event).id is not null and not coalesce((l.event).normalized ? 'deleted_at', false)
        offset 0
    )
    select array_agg(r.id), array_agg(r.told), array_agg((r.event).normalized),
           bool_or((r.told).normalized is distinct from (r.event).normalized)
    into v_ids, v_told, v_known, v_more
    from renewed r
    where ((r.told).type, (r.told).author_id, (r.told).author_name, (r.told).content, (r.told).event_date, (r.told).post_id,
           (r.told).conversation_id, (r.told).raw_payload, (r.told).normalized)
          is distinct from
          ((r.event).type, (r.event).author_id, (r.event).author_name, (r.event).content, (r.event).event_date,
           (r.event).post_id, (r.event).conversation_id, (r.event).raw_payload, (r.event).normalized);
    if v_ids is null then
        return v_new;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.webhook_events w
    set type = t.type, author_id = t.author_id, author_name = t.author_name, content = t.content, event_date = t.event_date,
        post_id = t.post_id, conversation_id = t.conversation_id, raw_payload = t.raw_payload, normalized = t.normalized,
        parked_until = case when w.parked_until operator(pg_catalog.=) 'infinity' then w.parked_until end
    from pg_catalog.unnest(v_told) with ordinality t
    where w.id operator(pg_catalog.=) any (array[v_ids[t.ordinality]]);
    if v_more then
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        perform router.renew_messages(v_ids, v_known);
    end if;
    return v_new;
end
$function$;
