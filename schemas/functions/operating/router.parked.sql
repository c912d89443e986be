-- router.parked: the parked events and their errors, without their content.
-- takes: p_ids: only these events; p_channel; p_error_class: an SQLSTATE, or its beginning; p_older_than, p_newer_than: time
--   since they were first parked; p_state: 'waiting' for another attempt, 'dead' or 'discarded'; p_event_ids: only events with
--   one of these event_id, in any channel. Null is no condition, but discarded events are found only by state, id or event_id.
--   p_limit: null for all
-- returns: the events, the one parked last first
create or replace function router.parked(
    p_ids uuid[] default null, p_channel text default null, p_error_class text default null,
    p_older_than interval default null, p_newer_than interval default null, p_state text default null,
    p_limit integer default null, p_event_ids text[] default null
) returns table (
    id uuid, state text, channel text, type text, event_id text, event_date timestamptz, created_at timestamptz,
    attempts integer, error_code text, error_message text, first_parked_at timestamptz, last_parked_at timestamptz,
    next_attempt_at timestamptz, discarded_at timestamptz
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    return query
    select w.id, s.state, w.channel::text, w.type::text, w.event_id::text, w.event_date, w.created_at, p.attempts, p.error_code,
           router.kind_shown(p.error_code, p.error_message), p.first_parked_at, p.last_parked_at, w.parked_until,
           p.discarded_at
    from router.parked_events p
    cross join lateral (
        select w.*
        from public.webhook_events w
        where w.id = p.event_id
        offset 0  -- by the primary key: no partial index applies while the conditions are outside
    ) w
    cross join lateral (
        select case when p.discarded_at is not null then 'discarded' when w.parked_until = 'infinity' then 'dead'
                    else 'waiting' end as state
    ) s
    where w.routed_at is null and w.parked_until is not null
      and (p_ids is null or p.event_id = any (p_ids))
      and (p_event_ids is null or w.event_id = any (p_event_ids))
      and (p_channel is null or p.channel = router.channel_of(p_channel))
      and (p_error_class is null or starts_with(p.error_code, upper(p_error_class collate "C")))
      and (p_older_than is null or p.first_parked_at < now() - p_older_than)
      and (p_newer_than is null or p.first_parked_at > now() - p_newer_than)
      and (p_state is null or s.state = p_state)
      and (p_state is not null or p_ids is not null or p_event_ids is not null or p.discarded_at is null)
    order by p.last_parked_at desc
    limit p_limit;
end
$function$;
