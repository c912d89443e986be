-- router.take_atoms: what deliveries were taken apart into takes effect: messages first, then what changes them.
-- takes: lines of messages and of effects, see router.take_deliveries, null for none; when their deliveries came, by number,
--   null for now; p_path: by which path the messages are routed, see router.mark_routed
-- returns: batch: as router.route_claimed, for the messages that were not routed yet; effects: how many of each kind came to
--   what, see router.apply_effects; refused: the numbers of the deliveries (from 0) whose line was refused, one entry a line, with
--   SQLSTATE and message in codes and reasons
-- raises: what is not the fault of one line, such as that of the schema: see router.is_schema_fault
-- writes: see router.ingest_events, router.route, router.open_histories, router.note_histories, router.apply_effects
-- locks: the events, by channel and event_id; waits for a batch that has claimed one
create or replace function router.take_atoms(
    p_lines jsonb[], p_effects jsonb[], p_received timestamptz[], p_path text,
    out batch router.batch, out effects jsonb, out refused integer[], out codes text[], out reasons text[]
)
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
    v_stored    record;
    v_read      record;
    v_events    router.event[];
    v_live      router.event[];  -- those that are known from a history, and have come live now
    v_told      router.event[];  -- those that were routed before, and whose status a history tells
    v_elsewhere boolean;  -- there are lines whose event is not where it was sent: a trigger has stored it under another key
begin
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    effects := '{}';
    if p_lines is not null then
        v_stored := router.ingest_taken(p_lines, p_received, 0);
        if v_stored.refused <> '{}' then
            select array_agg((p_lines[r.place] ->> 'delivery')::integer order by r.number) into refused
            from unnest(v_stored.refused) with ordinality as r (place, number);
            codes := v_stored.codes;
            reasons := v_stored.reasons;
        end if;
        select array_agg(router.as_event(c.event, p_path))
                   filter (where (c.event).routed_at is null and (c.event).parked_until is null and (c.event).id is not null),
               array_agg(router.as_event(c.event)) filter (where c.is_live and (c.event).normalized ? 'history'),
               array_agg(router.as_event(c.event)) filter (where c.has_status and (c.event).routed_at is not null
                                                             and (c.event).normalized ? 'status'),
               bool_or((c.event).id is null)
        into v_events, v_live, v_told, v_elsewhere
        from (
            select w.event, t.is_live, t.has_status
            from (
                select router.channel_of(l.line ->> 'channel') as channel, l.line ->> 'event_id' as event_id,
                       bool_or(l.line -> 'normalized' ->> 'history' is null) as is_live,
                       bool_or(l.line -> 'normalized' ->> 'status' is not null) as has_status
                from unnest(p_lines) with ordinality as l (line, place)
                where l.place::integer <> all (v_stored.refused)
                group by router.channel_of(l.line ->> 'channel'), l.line ->> 'event_id'
                order by router.channel_of(l.line ->> 'channel') collate "C", (l.line ->> 'event_id') collate "C"
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
            v_events := v_events || router.claim_rewritten(p_lines::text[], v_stored.refused, v_events, p_path);
        end if;
    end if;
    batch := case when v_events is null then router.route_claimed(null, 1) else router.route_taken(v_events) end;
    if v_live is not null then
        perform router.open_histories(v_live);
    end if;
    if v_told is not null then
        perform router.note_histories(v_told);
    end if;

    if p_effects is not null then
        v_read := router.effects_of(p_effects, p_received, 0);
        if v_read.effects is not null then
            effects := router.apply_effects(v_read.effects);
        end if;
        if v_read.refused <> '{}' then
            select refused || array_agg((p_effects[r.place] ->> 'delivery')::integer order by r.number) into refused
            from unnest(v_read.refused) with ordinality as r (place, number);
            codes := codes || v_read.codes;
            reasons := reasons || v_read.reasons;
        end if;
    end if;
end
$function$;
