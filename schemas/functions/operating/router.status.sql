-- router.status: the state of the router, for an operator.
-- returns: as router.backlog; per_second_in_minute, per_second_in_hour: events routed per second, from the last 100,000
--   routed events if there were more in that time; last_routed_at; sessions of the service on this database; awake: one of
--   them is draining, with the doorbell silent
-- reads: webhook_events through the index on routed_at, pg_stat_activity, pg_locks
create or replace function router.status(
    out ready bigint, out oldest_seconds double precision, out parked bigint, out dead bigint, out discarded bigint,
    out per_second_in_minute double precision, out per_second_in_hour double precision, out last_routed_at timestamptz,
    out sessions integer, out awake boolean, out notification_queue double precision
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_backlog record;
    v_recent  record;
    v_full    constant integer := 100000;
begin
    v_backlog := router.backlog();
    ready := v_backlog.ready;
    oldest_seconds := v_backlog.oldest_seconds;
    parked := v_backlog.parked;
    dead := v_backlog.dead;
    discarded := v_backlog.discarded;
    notification_queue := v_backlog.notification_queue;

    select count(*) as events, count(*) filter (where r.routed_at > now() - interval '1 minute') as in_minute,
           greatest(extract(epoch from now() - min(r.routed_at)), 1) as seconds
    into v_recent
    from (
        select w.routed_at
        from public.webhook_events w
        where w.routed_at > now() - interval '1 hour'
        order by w.routed_at desc
        limit v_full
    ) r;
    if v_recent.events < v_full then
        v_recent.seconds := 3600;  -- all events of the hour were counted
    end if;
    per_second_in_minute := v_recent.in_minute / least(v_recent.seconds, 60);
    per_second_in_hour := v_recent.events / v_recent.seconds;
    last_routed_at := (select w.routed_at from public.webhook_events w where w.routed_at is not null
                       order by w.routed_at desc limit 1);

    sessions := (select count(*)
                 from pg_stat_activity a
                 where a.datname = current_database() and a.application_name = 'webhook-router'
                   and a.pid <> pg_backend_pid());
    awake := exists (select
                     from pg_locks l
                     join pg_database d on d.oid = l.database
                     join pg_stat_activity a on a.pid = l.pid
                     where a.application_name = 'webhook-router' and l.locktype = 'advisory' and d.datname = current_database()
                       and l.classid = 1920298101 and l.objid = 0  -- lock: doorbell
                       and l.mode = 'ExclusiveLock' and l.granted);
end
$function$;
