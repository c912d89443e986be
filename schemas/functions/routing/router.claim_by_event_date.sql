-- router.claim_by_event_date: locks up to p_limit ready events that come after (p_after_at, p_after_id), oldest event_date
-- first, nulls last.
-- takes: p_channel null for every channel; bounds on (event_date, id), exclusive, with 'infinity' for no event_date;
--   '-infinity' and the zero uuid start at the beginning; p_path as router.as_event
-- returns: the events; null if there is none
-- reads: public.webhook_events through router_ready_by_event_date
-- locks: the claimed rows; rows that another batch holds are skipped
create or replace function router.claim_by_event_date(
    p_channel  text,
    p_limit    integer,
    p_after_at timestamptz default '-infinity',
    p_after_id uuid        default '00000000-0000-0000-0000-000000000000',
    p_path     text        default null
) returns router.event[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- a channel that is null must not keep the filter out of the index
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_events router.event[];
begin
    v_events := (
        select array_agg(router.as_event(c.w, p_path))
        from (
            select w
            from public.webhook_events w
            where w.routed_at is null and w.parked_until is null and (w.event_date, w.id) > (p_after_at, p_after_id)
              and (p_channel is null or w.channel = p_channel)
            order by w.event_date, w.id
            limit p_limit
            for no key update skip locked
        ) c
    );
    if cardinality(v_events) >= p_limit then
        return v_events;
    end if;
    if p_after_at < 'infinity' then
        p_after_id := '00000000-0000-0000-0000-000000000000';
    end if;
    return v_events || (
        select array_agg(router.as_event(c.w, p_path))
        from (
            select w
            from public.webhook_events w
            where w.routed_at is null and w.parked_until is null and w.event_date is null and w.id > p_after_id
              and (p_channel is null or w.channel = p_channel)
            order by w.event_date, w.id
            limit p_limit - coalesce(cardinality(v_events), 0)
            for no key update skip locked
        ) c
    );
end
$function$;
