-- router.claim_rewritten: locks the events of JSON lines that a trigger of the application has stored under other keys.
-- takes: lines, null for none; the places of those that were refused; events that are claimed already; p_path as
--   router.as_event
-- returns: the other events, unless they are routed or parked; null if there is none
-- reads: public.webhook_events by key
-- locks: the claimed rows
create or replace function router.claim_rewritten(
    p_lines text[], p_refused integer[], p_events router.event[], p_path text
) returns router.event[]
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
    v_line  router.incoming;
    v_ids   uuid[] := array(select e.id from unnest(p_events) e);
    v_id    uuid;
    v_row   public.webhook_events;
    v_found router.event[];
begin
    for v_line in
        select (l.incoming).*
        from (
            select router.incoming_of(l.line::jsonb) as incoming
            from unnest(p_lines) with ordinality l (line, place)
            where l.line is not null and l.place::integer <> all (p_refused)
            offset 0
        ) l
    loop
        perform from public.webhook_events w
        where w.channel = router.channel_of(v_line.channel)
          and w.event_id >= v_line.event_id and w.event_id <= v_line.event_id
        order by w.event_id
        limit 1;
        if not found then
            v_id := router.find_event(v_line);
            if v_id <> all (v_ids) then
                select w.* into v_row from public.webhook_events w where w.id = v_id for no key update;
                if v_row.routed_at is null and v_row.parked_until is null and v_row.id is not null then
                    v_ids := v_ids || v_id;
                    v_found := v_found || router.as_event(v_row, p_path);
                end if;
            end if;
        end if;
    end loop;
    return v_found;
end
$function$;
