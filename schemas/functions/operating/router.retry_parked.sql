-- router.retry_parked: has parked events tried again at the next sweep of the service, as if they had never failed. Calling
-- it again changes nothing.
-- takes: conditions as router.parked
-- returns: matched: events that meet them; changed: those that were not due already; unknown: given ids that are not parked
-- writes: router.parked_events, webhook_events
-- locks: the events by id; waits for a batch that is trying one of them
create or replace function router.retry_parked(
    p_ids uuid[] default null, p_channel text default null, p_error_class text default null,
    p_older_than interval default null, p_newer_than interval default null, p_state text default null,
    p_limit integer default null, p_error_message text default null,
    out matched integer, out changed integer, out unknown uuid[]
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
set jit = off
as $function$
declare
    v_ids uuid[] := array(select f.id
                          from router.find_parked(p_ids, p_channel, p_error_class, p_older_than, p_newer_than, p_state,
                                                  p_limit, null, p_error_message, null, null) f);
    v_changed uuid[];
    v_path    text;
begin
    matched := cardinality(v_ids);
    unknown := array(select distinct g.id from unnest(p_ids) as g (id) where g.id <> all (v_ids) order by g.id);
    with locked as materialized (
        select w.id, w.parked_until
        from (select i.id from unnest(v_ids) as i (id) order by i.id) i
        cross join lateral (
            select w.id, w.routed_at, w.parked_until
            from public.webhook_events w
            where w.id = i.id
            limit 1
            for no key update
        ) w
        where w.routed_at is null and w.parked_until is not null
    ), renewed as (
        update router.parked_events p
        set attempts = 0, next_attempt_at = now(), discarded_at = null
        from locked l
        where p.event_id = any (array[l.id])
          and (p.attempts > 0 or p.discarded_at is not null or l.parked_until > now())
        returning p.event_id
    )
    select array_agg(r.event_id) into v_changed
    from renewed r;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.webhook_events w
    set parked_until = pg_catalog.now()
    from pg_catalog.unnest(v_changed) as r (id)
    where w.id operator(pg_catalog.=) any (array[r.id]);
    get diagnostics changed = row_count;
end
$function$;
