-- router.route_waiting_comments: routes comments of our own that have waited, unless another batch has claimed them; those that
-- are routed already wait no longer.
-- takes: their channels and event_ids; p_wait: those whose comment is not there either go on waiting; p_path as
--   router.as_event
-- reads: webhook_events by key
-- writes: router.waiting, see also router.route_own_comments
-- locks: their events; one that another batch has claimed is left to that batch
create or replace function router.route_waiting_comments(
    p_channels text[], p_event_ids text[], p_wait boolean, p_path text
)
returns void
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
    v_events router.event[];
begin
    select array_agg(router.as_event(w.event, p_path)) into v_events
    from unnest(p_channels, p_event_ids) as c (channel, event_id)
    cross join lateral (
        select w as event
        from public.webhook_events w
        where w.channel = c.channel and w.event_id >= c.event_id and w.event_id <= c.event_id
        order by w.event_id
        limit 1
        for no key update skip locked
    ) w
    where (w.event).routed_at is null;
    if v_events is not null then
        perform router.route_own_comments(v_events, null, p_wait);
    end if;
    delete from router.waiting w
    using unnest(p_channels, p_event_ids) as c (channel, event_id)
    where w.channel = c.channel and w.atom_id = c.event_id and w.kind = 'comment'
      and not exists (
          select
          from public.webhook_events e
          where e.channel = c.channel and e.event_id >= c.event_id and e.event_id <= c.event_id and e.routed_at is null
      );
end
$function$;
