-- router.claim_by_arrival: locks up to p_limit ready events that arrived after (p_after_at, p_after_id) and before p_before.
-- takes: bounds on (created_at, id), exclusive; '-infinity' and the zero uuid start at the beginning, as null does, and
--   'infinity' and null are no bound at the end; p_lane of p_lanes: only the people (or threads) that fall into this lane, so
--   that lanes work side by side without sharing a conversation; p_path as router.as_event
-- returns: the events, oldest arrival first; those without created_at come before all others, and for the bounds they arrived
--   at '-infinity'; null if there is none
-- reads: public.webhook_events through router_ready_by_arrival
-- locks: the claimed rows; rows that another batch holds are skipped, so batches never wait for each other here
create or replace function router.claim_by_arrival(
    p_limit integer, p_after_at timestamptz, p_after_id uuid, p_before timestamptz, p_lane integer, p_lanes integer,
    p_path text default null
) returns router.event[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_after_at constant timestamptz := coalesce(p_after_at, '-infinity');
    v_zero     constant uuid := '00000000-0000-0000-0000-000000000000';
    v_after_id uuid := coalesce(p_after_id, v_zero);
    -- The last moment that is claimed: there is none before infinity, at which an event may have arrived all the same.
    v_last     constant timestamptz := case when isfinite(p_before) then p_before - interval '1 microsecond'
                                            else coalesce(p_before, 'infinity') end;
    v_events   router.event[];
begin
    if v_after_at = '-infinity'
       and (v_after_id = v_zero
            or exists (select from public.webhook_events w where w.id = v_after_id and w.created_at is null)) then
        v_events := (
            select array_agg(router.as_event(c.w, p_path))
            from (
                select w
                from public.webhook_events w
                where w.routed_at is null and w.parked_until is null and w.created_at is null and w.id > v_after_id
                  and (p_lanes = 1
                       or (hashtext(coalesce(w.author_id, w.post_id, w.event_id) collate "C") & 2147483647) % p_lanes = p_lane)
                order by w.created_at, w.id
                limit p_limit
                for no key update skip locked
            ) c
        );
        if cardinality(v_events) >= p_limit then
            return v_events;
        end if;
        v_after_id := v_zero;
    end if;
    return v_events || (
        select array_agg(router.as_event(c.w, p_path))
        from (
            select w
            from public.webhook_events w
            where w.routed_at is null and w.parked_until is null
              and (w.created_at, w.id) > (v_after_at, v_after_id) and w.created_at <= v_last
              and (p_lanes = 1
                   or (hashtext(coalesce(w.author_id, w.post_id, w.event_id) collate "C") & 2147483647) % p_lanes = p_lane)
            order by w.created_at, w.id
            limit p_limit - coalesce(cardinality(v_events), 0)
            for no key update skip locked
        ) c
    );
end
$function$;
