-- router.forget_parked: forgets the errors of events that are gone: the application has deleted them, or truncated their table.
-- takes: how many of the oldest errors are looked at
-- reads: webhook_events by primary key
-- writes: router.parked_events
create or replace function router.forget_parked(p_limit integer)
returns void
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
begin
    delete from router.parked_events p
    where p.event_id = any (array(
        select o.event_id
        from (
            select p.event_id
            from router.parked_events p
            where p.last_parked_at < now() - interval '1 day'  -- who is parking it now has not committed the event, perhaps
            order by p.last_parked_at
            limit p_limit
        ) o
        where not exists (select from public.webhook_events w where w.id = o.event_id)
    ));
end
$function$;
