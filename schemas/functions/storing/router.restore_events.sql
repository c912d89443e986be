-- router.restore_events: brings events back from an archive. One that is not there comes with all columns that it had and that
-- the table still has, and is routed anew: where its message exists it is only marked. One that is there gets back what it
-- lacks, such as its payload, and keeps what it has: what the archive knows is older. What its author has deleted stays so.
-- takes: lines of router.archive_line, in any order, also the same event more than once
-- returns: how many events are new
-- raises: invalid_parameter_value: what is not such a line
-- reads: messages by (channel, provider_message_id); conversations by key: one that is gone is not named any more
-- writes: webhook_events
-- locks: as router.ingest_events
create or replace function router.restore_events(p_lines jsonb[])
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
    -- Said anew by the database, or by routing.
    v_left_out constant text[] := array['conversation_id', 'routed_at', 'parked_until', 'routed_by'];
    v_insert   constant text := $insert$
        insert into public.webhook_events (%1$s, conversation_id) overriding system value
        select %2$s, (select c.id from public.conversations c where c.id operator(pg_catalog.=) r.conversation_id limit 1)
        from pg_catalog.unnest($1) with ordinality l (line, place)
        cross join lateral pg_catalog.jsonb_populate_record(null::public.webhook_events, l.line) r
        order by r.channel collate pg_catalog."C", r.event_id collate pg_catalog."C", l.place
        on conflict (channel, event_id) do nothing
    $insert$;
    v_group    record;
    v_count    integer;
    v_new      integer := 0;
    v_ids      uuid[];
    v_told     router.incoming[];
    v_path     text;
begin
    if exists (select from unnest(p_lines) l
               where jsonb_typeof(l) is distinct from 'object' or l -> 'webhook_router_archive' is distinct from '1'
                  or l ->> 'channel' is null or l ->> 'event_id' is null) then
        raise exception 'not an event of an archive that this version reads' using errcode = 'invalid_parameter_value';
    end if;

    -- The columns of a table change over the years: lines that have the same ones are inserted together.
    for v_group in
        select g.columns, g.selected, array_agg(g.line order by g.place) as lines
        from (
            select l.line, l.place, c.columns, c.selected
            from unnest(p_lines) with ordinality l (line, place)
            cross join lateral (
                select string_agg(format('%I', a.attname), ', ' order by a.attnum) as columns,
                       string_agg(format('r.%I', a.attname), ', ' order by a.attnum) as selected
                from pg_attribute a
                where a.attrelid = 'public.webhook_events'::regclass and a.attnum > 0 and not a.attisdropped
                  and a.attgenerated = '' and a.attname::text <> all (v_left_out) and l.line ? a.attname::text
            ) c
        ) g
        group by g.columns, g.selected
        order by min(g.place)
    loop
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        execute pg_catalog.format(v_insert, v_group.columns, v_group.selected) using v_group.lines;
        get diagnostics v_count = row_count;
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        v_new := v_new + v_count;
    end loop;

    with told as materialized (
        select l.line ->> 'channel' as channel, l.line ->> 'event_id' as event_id,
               (array_agg(l.line ->> 'author_id' order by l.place) filter (where l.line ->> 'author_id' is not null))[1]
                   as author_id,
               (array_agg(l.line ->> 'author_name' order by l.place) filter (where l.line ->> 'author_name' is not null))[1]
                   as author_name,
               (array_agg(l.line ->> 'content' order by l.place) filter (where l.line ->> 'content' is not null))[1] as content,
               (array_agg(l.line ->> 'event_date' order by l.place) filter (where l.line ->> 'event_date' is not null))[1]
                   as event_date,
               (array_agg(l.line ->> 'post_id' order by l.place) filter (where l.line ->> 'post_id' is not null))[1] as post_id,
               (array_agg(l.line -> 'raw_payload' order by l.place)
                    filter (where l.line -> 'raw_payload' not in ('{}', 'null')))[1] as raw_payload,
               (array_agg(l.line -> 'normalized' order by l.place)
                    filter (where jsonb_typeof(l.line -> 'normalized') = 'object'))[1] as normalized
        from unnest(p_lines) with ordinality l (line, place)
        group by l.line ->> 'channel', l.line ->> 'event_id'
    ), locked as materialized (
        select t.*, w.event
        from (select * from told order by channel collate "C", event_id collate "C") t
        cross join lateral (
            select w as event
            from public.webhook_events w
            where w.channel = t.channel and w.event_id >= t.event_id and w.event_id <= t.event_id
            order by w.event_id
            limit 1
            for no key update
        ) w
    ), renewed as (
        select l.event,
               row((l.event).channel, (l.event).type, (l.event).event_id,
                   coalesce((l.event).author_id, l.author_id), coalesce((l.event).author_name, l.author_name),
                   coalesce((l.event).content, l.content), coalesce((l.event).event_date, l.event_date::timestamptz),
                   coalesce((l.event).post_id, l.post_id), (l.event).conversation_id,
                   coalesce(case when (l.event).raw_payload <> '{}' then (l.event).raw_payload end, l.raw_payload, '{}'),
                   coalesce((l.event).normalized, l.normalized))::router.incoming as told
        from locked l
        where not coalesce((l.event).normalized ? 'deleted_at', false)
        offset 0
    )
    select array_agg((r.event).id), array_agg(r.told)
    into v_ids, v_told
    from renewed r
    where ((r.told).author_id, (r.told).author_name, (r.told).content, (r.told).event_date, (r.told).post_id,
           (r.told).raw_payload, (r.told).normalized)
          is distinct from
          ((r.event).author_id, (r.event).author_name, (r.event).content, (r.event).event_date, (r.event).post_id,
           (r.event).raw_payload, (r.event).normalized);
    if v_ids is not null then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.webhook_events w
        set author_id = t.author_id, author_name = t.author_name, content = t.content, event_date = t.event_date,
            post_id = t.post_id, raw_payload = t.raw_payload, normalized = t.normalized
        from pg_catalog.unnest(v_told) with ordinality t
        where w.id operator(pg_catalog.=) any (array[v_ids[t.ordinality]]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;

    -- Its author may have deleted the message since, or before it was archived for the last time.
    perform router.scrub_events(array_agg(d.channel), array_agg(d.event_id), array_agg(d.deleted_at))
    from (
        select l ->> 'channel' as channel, l ->> 'event_id' as event_id,
               coalesce(router.time_of(m.metadata ->> 'deleted_at'), now()) as deleted_at
        from unnest(p_lines) l
        cross join lateral (
            select m.metadata
            from public.messages m
            where m.channel = l ->> 'channel' and m.provider_message_id >= l ->> 'event_id'
              and m.provider_message_id <= l ->> 'event_id'
            order by m.provider_message_id
            limit 1
        ) m
        where m.metadata ? 'deleted_at'
        union all
        select l ->> 'channel', l ->> 'event_id', coalesce(router.time_of(l -> 'normalized' ->> 'deleted_at'), now())
        from unnest(p_lines) l
        where l -> 'normalized' ? 'deleted_at'
    ) d;
    return v_new;
end
$function$;
