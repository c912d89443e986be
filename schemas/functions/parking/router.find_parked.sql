-- router.find_parked: the parked events that meet the conditions of router.parked, with the messages of their errors as they are
-- kept: to tell what is shown of one costs more than to find its event.
-- takes: see router.parked
-- returns: as router.parked, in its order
-- reads: router.parked_events in the order of parked_events_in_order, webhook_events by primary key
create or replace function router.find_parked(
    p_ids uuid[], p_channel text, p_error_class text, p_older_than interval, p_newer_than interval, p_state text,
    p_limit integer, p_event_ids text[], p_error_message text, p_before timestamptz, p_before_id uuid
) returns table (
    id uuid, state text, channel text, type text, event_id text, event_date timestamptz, created_at timestamptz,
    attempts integer, error_code text, error_message text, first_parked_at timestamptz, last_parked_at timestamptz,
    next_attempt_at timestamptz, discarded_at timestamptz
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
begin
    return query
    select w.id, s.state, w.channel::text, w.type::text, w.event_id::text, w.event_date, w.created_at, p.attempts, p.error_code,
           p.error_message, p.first_parked_at, p.last_parked_at, w.parked_until, p.discarded_at
    from (
        select p.*
        from router.parked_events p
        where (p_ids is null or p.event_id = any (p_ids))
          and (p_channel is null or p.channel = router.channel_of(p_channel))
          and (p_error_class is null or starts_with(p.error_code, upper(p_error_class collate "C")))
          and (p_error_message is null or (p.error_code, p.error_message) in (
                  select m.error_code, m.error_message
                  from (
                      select distinct e.error_code, e.error_message
                      from router.parked_events e
                      where p_error_class is null or starts_with(e.error_code, upper(p_error_class collate "C"))
                      offset 0
                  ) m
                  where router.kind_shown(m.error_code, m.error_message) = p_error_message))
          and (p_older_than is null or p.first_parked_at < now() - p_older_than)
          and (p_newer_than is null or p.first_parked_at > now() - p_newer_than)
          and (p_before is null or (p.last_parked_at, p.event_id) < (p_before, p_before_id))
          and (p_state is null or (p_state = 'discarded') = (p.discarded_at is not null))
          and (p_state is not null or p_ids is not null or p_event_ids is not null or p.discarded_at is null)
        -- By the index that has this order, unless ids are given, which are looked up.
        order by case when p_ids is null then p.last_parked_at end desc, case when p_ids is null then p.event_id end desc
        offset 0
    ) p
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
      and (p_event_ids is null or w.event_id = any (p_event_ids))
      and (p_state is null or s.state = p_state)
    order by p.last_parked_at desc, p.event_id desc
    limit p_limit;
end
$function$;
