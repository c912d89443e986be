-- router.status: the state of the router, for an operator.
-- returns: as router.backlog; per_second_in_minute, per_second_in_hour: events routed per second, the latter over counted_seconds,
--   which are fewer than an hour's if counting takes half a second; last_routed_at. These four are null if no index begins with
--   routed_at, as the table would have to be read. sessions of the service on this database; replicas: processes of the service,
--   by the names of sessions; awake: one of them is draining, with the doorbell silent
-- reads: webhook_events through an index on routed_at, pg_index, pg_stat_activity, pg_locks
create or replace function router.status(
    out ready bigint, out oldest_seconds double precision, out parked bigint, out dead bigint, out discarded bigint,
    out per_second_in_minute double precision, out per_second_in_hour double precision, out last_routed_at timestamptz,
    out sessions integer, out awake boolean, out notification_queue double precision, out replicas integer,
    out counted_seconds double precision
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
    v_minute  integer := 0;
    v_until   timestamptz;
    v_before  timestamptz := 'infinity';
    v_from    timestamptz;
    v_events  bigint;
    v_total   bigint := 0;
begin
    v_backlog := router.backlog();
    ready := v_backlog.ready;
    oldest_seconds := v_backlog.oldest_seconds;
    parked := v_backlog.parked;
    dead := v_backlog.dead;
    discarded := v_backlog.discarded;
    notification_queue := v_backlog.notification_queue;

    if exists (select
               from pg_index i
               join pg_class c on c.oid = i.indexrelid
               join pg_am m on m.oid = c.relam
               join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
               where i.indrelid = 'public.webhook_events'::regclass and i.indisvalid and m.amname = 'btree'
                 and a.attname = 'routed_at'
                 and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = '(routed_at IS NOT NULL)')) then
        v_until := clock_timestamp() + interval '0.5 seconds';
        while v_minute < 60 loop
            v_from := now() - (v_minute + 1) * interval '1 minute';
            select count(*) into v_events
            from (
                select w.routed_at
                from public.webhook_events w
                where w.routed_at > v_from and w.routed_at <= v_before
                order by w.routed_at
                offset 0
            ) r;
            v_minute := v_minute + 1;
            v_before := v_from;
            v_total := v_total + v_events;
            if v_minute = 1 then
                per_second_in_minute := v_events / 60.0;
            end if;
            exit when clock_timestamp() > v_until;
        end loop;
        counted_seconds := v_minute * 60;
        per_second_in_hour := v_total / counted_seconds;
        last_routed_at := (select w.routed_at from public.webhook_events w where w.routed_at is not null
                           order by w.routed_at desc limit 1);
    end if;

    select count(*), count(distinct a.application_name) filter (where a.application_name <> 'webhook-router')
    into sessions, replicas
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
      and (a.application_name = 'webhook-router' or starts_with(a.application_name, 'webhook-router replica '));
    awake := exists (select
                     from pg_locks l
                     join pg_database d on d.oid = l.database
                     join pg_stat_activity a on a.pid = l.pid
                     where a.application_name = 'webhook-router' and l.locktype = 'advisory' and d.datname = current_database()
                       and l.classid = 1920298101 and l.objid = 0  -- lock: doorbell
                       and l.mode = 'ExclusiveLock' and l.granted);
end
$function$;
