-- router.ingest_and_route: one poll of a Kafka consumer: stores the events of its records and routes them, by the path
-- 'kafka', in one transaction. Once it has committed, every record is dealt with: its event is routed (by this call, or by
-- another one that this call has waited for), parked, or held, that is, stored for the sweep to route it as soon as the schema
-- allows it; or the record is among the refused ones. It can be called again with the same records.
-- takes: one entry per record in each of:
--     p_lines      the event as a JSON object, see router.ingest_lines; null for a record that only names an event. They come
--                  as one text, separated by line feeds, in which an empty line is null
--     p_channels, p_event_ids  which event it is
--     p_keep       the record may be older than the row (a change record): it is stored only if there is no row
--   p_untried: park the events instead of routing them, see router.park_untried
-- returns: batch: as router.route_claimed, for the events that were not routed yet; refused: the places (from 1) of the
--   records refused, with SQLSTATE and message in codes and reasons; P0002: the record names an event that does not exist
-- writes: see router.ingest_events and router.route. A parked event waits for its next attempt, unless a record names
--   it or adds something to it
-- raises: a fault of the schema (see router.is_schema_fault) as an error to wait for: a broken trigger on webhook_events is
--   not the fault of a record
-- locks: the events, by channel and event_id; waits for a batch that has claimed one, to know its outcome
create or replace function router.ingest_and_route(
    p_lines text, p_channels text[], p_event_ids text[], p_keep boolean[], p_untried boolean default false,
    out batch router.batch, out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
volatile
security definer
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
    v_lines     constant text[] := string_to_array(p_lines, E'\n', '');
    v_store     text[] := v_lines;
    v_places    integer[];  -- of v_store in v_lines, if they differ
    v_stored    record;
    v_error     router.fault;
    v_events    router.event[];
    v_channels  text[];  -- with v_event_ids: events that are named, but do not exist
    v_event_ids text[];
    v_elsewhere boolean;  -- there are lines whose event is not where it was sent: refused, or stored under another key
begin
    if true = any (p_keep) or array_position(v_lines, null) is not null then
        select array_agg(r.line order by r.place), array_agg(r.place::integer order by r.place) into v_store, v_places
        from unnest(v_lines, p_channels, p_event_ids, p_keep) with ordinality as r (line, channel, event_id, keep, place)
        left join lateral (
            select true as found
            from public.webhook_events w
            where r.keep and w.channel = router.channel_of(r.channel)
              and w.event_id >= r.event_id and w.event_id <= r.event_id
            order by w.event_id
            limit 1
        ) w on true
        where r.line is not null and w.found is null;
    end if;
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    if cardinality(v_store) > 0 then
        begin
            v_stored := router.ingest_or_refuse(v_store, 0);
        exception
            when others then
                get stacked diagnostics
                    v_error.code = returned_sqlstate, v_error.message = message_text,
                    v_error.context = pg_exception_context, v_error.schema_name = schema_name,
                    v_error.table_name = table_name, v_error.column_name = column_name,
                    v_error.constraint_name = constraint_name;
                if not router.is_schema_fault(v_error) then
                    raise;
                end if;
                raise exception 'no event can be stored: % [%]', ltrim(substr(router.reason_of(v_error), 6), ': '), sqlstate
                    using errcode = 'object_not_in_prerequisite_state',
                          hint = 'Is a trigger of the application on webhook_events broken, or without rights?';
        end;
        refused := v_stored.refused;
        codes := v_stored.codes;
        reasons := v_stored.reasons;
        if v_places is not null then
            refused := array(select v_places[r.place]
                             from unnest(refused) with ordinality as r (place, number)
                             order by r.number);
        end if;
    end if;

    select array_agg(router.as_event(c.event, 'kafka'))
               filter (where (c.event).id is not null and (c.event).routed_at is null
                         and (c.named or (c.event).parked_until is null)),
           array_agg(c.channel) filter (where c.named and (c.event).id is null),
           array_agg(c.event_id) filter (where c.named and (c.event).id is null),
           bool_or(not c.named and (c.event).id is null)
    into v_events, v_channels, v_event_ids, v_elsewhere
    from (
        select t.channel, t.event_id, t.named, w.event
        from (
            select router.channel_of(r.channel) as channel, r.event_id, bool_or(r.line is null) as named
            from unnest(v_lines, p_channels, p_event_ids) as r (line, channel, event_id)
            group by router.channel_of(r.channel), r.event_id
            order by router.channel_of(r.channel) collate "C", r.event_id collate "C"
            offset 0
        ) t
        left join lateral (
            select w as event
            from public.webhook_events w
            where w.channel = t.channel and w.event_id >= t.event_id and w.event_id <= t.event_id
            order by w.event_id
            limit 1
            for no key update
        ) w on true
    ) c;
    if v_elsewhere then
        v_events := v_events || router.claim_rewritten(v_lines, refused, v_events, 'kafka');
    end if;

    if v_event_ids is not null then
        select refused || array_agg(r.place::integer), codes || array_agg('P0002'::text),
               reasons || array_agg('event not found'::text)
        into refused, codes, reasons
        from unnest(v_lines, p_channels, p_event_ids) with ordinality as r (line, channel, event_id, place)
        where r.line is null
          and exists (select from unnest(v_channels, v_event_ids) as m (channel, event_id)
                      where m.channel = router.channel_of(r.channel) and m.event_id = r.event_id);
    end if;

    batch := case when p_untried then router.park_untried(v_events)
                  else router.route_claimed(v_events, cardinality(v_lines) + 1) end;
end
$function$;
