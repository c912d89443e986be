-- router.release_due_comments: routes comments of our own that have waited long enough for those that they answer.
-- takes: how many of them to look at; p_path as router.as_event
-- returns: how many it was time for
-- reads: router.waiting by expires_at, webhook_events by key: whoever ends the wait of an event ends it here
-- writes: see router.route_own_comments
create or replace function router.release_due_comments(p_limit integer, p_path text default 'intake')
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_channels text[];
    v_ids      text[];
begin
    -- What waits for longer than any comment is no comment.
    select array_agg(w.channel), array_agg(w.atom_id) into v_channels, v_ids
    from (
        select w.channel, w.atom_id
        from router.waiting w
        where w.kind = 'comment' and w.expires_at <= now() + interval '5 seconds'
        order by w.expires_at
        limit p_limit
    ) w;
    select array_agg(c.channel), array_agg(c.event_id) into v_channels, v_ids
    from unnest(v_channels, v_ids) as c (channel, event_id)
    left join lateral (
        select w.routed_at, w.parked_until
        from public.webhook_events w
        where w.channel = c.channel and w.event_id >= c.event_id and w.event_id <= c.event_id
        order by w.event_id
        limit 1
    ) w on true
    where (w.routed_at is null and w.parked_until > now()) is not true;
    if v_ids is not null then
        perform router.route_waiting_comments(v_channels, v_ids, false, p_path);
    end if;
    return coalesce(cardinality(v_ids), 0);
end
$function$;
