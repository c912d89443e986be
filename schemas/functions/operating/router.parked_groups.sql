-- router.parked_groups: how many parked events have which error, without their content. It reads the indexes of parked events
-- and no other ones, each once: a look-up for each event would take many times as long.
-- takes: p_channel to p_error_message as router.parked; p_most: of the events that were parked last so many, null for all
-- returns: a row for each error, the most frequent first. events: how many have it, of them waiting, dead and discarded;
--   their channels; looked_at: how many events were looked at for all rows together; if p_most, there may be more
create or replace function router.parked_groups(
    p_channel text default null, p_error_class text default null, p_older_than interval default null,
    p_newer_than interval default null, p_state text default null, p_error_message text default null,
    p_most integer default null
) returns table (
    error_code text, error_message text, events bigint, waiting bigint, dead bigint, discarded bigint, channels text[],
    first_parked_at timestamptz, last_parked_at timestamptz,
    looked_at bigint
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
begin
    return query
    select k.error_code, k.kind, sum(k.events)::bigint, sum(k.waiting)::bigint, sum(k.dead)::bigint,
           sum(k.discarded)::bigint, array_agg(distinct k.channel), min(k.first_parked_at), max(k.last_parked_at),
           max(k.looked_at)
    from (
        -- Counted before: to tell what is shown of a message costs more than to count those that are the same.
        select g.*, router.kind_shown(g.error_code, g.error_message) as kind,
               sum(g.rows) over ()::bigint as looked_at
        from (
            select p.error_code, p.error_message, p.channel, count(*) as rows, count(p.state) as events,
                   count(*) filter (where p.state = 'waiting') as waiting,
                   count(*) filter (where p.state = 'dead') as dead,
                   count(*) filter (where p.state = 'discarded') as discarded,
                   min(p.first_parked_at) filter (where p.state is not null) as first_parked_at,
                   max(p.last_parked_at) filter (where p.state is not null) as last_parked_at
            from (
                select p.*, case when w.id is null then null  -- routed by the application, or deleted
                                 when p.discarded_at is not null then 'discarded'
                                 when p_state = case when w.parked_until = 'infinity' then 'waiting' else 'dead' end then null
                                 when w.parked_until = 'infinity' then 'dead'
                                 else 'waiting' end as state
                from (
                    select p.*
                    from router.parked_events p
                    where (p_channel is null or p.channel = router.channel_of(p_channel))
                      and (p_error_class is null or starts_with(p.error_code, upper(p_error_class collate "C")))
                      and (p_older_than is null or p.first_parked_at < now() - p_older_than)
                      and (p_newer_than is null or p.first_parked_at > now() - p_newer_than)
                      and (p_state is null or (p_state = 'discarded') = (p.discarded_at is not null))
                      and (p_state is not null or p.discarded_at is null)
                    order by p.last_parked_at desc
                    limit p_most
                ) p
                left join (
                    select w.id, w.parked_until
                    from public.webhook_events w
                    where w.routed_at is null and w.parked_until is not null
                    order by w.parked_until
                    offset 0
                ) w on w.id = p.event_id
            ) p
            group by p.error_code, p.error_message, p.channel
        ) g
        offset 0
    ) k
    where k.events > 0 and (p_error_message is null or k.kind = p_error_message)
    group by k.error_code, k.kind
    order by sum(k.events) desc, k.error_code, k.kind;
end
$function$;
