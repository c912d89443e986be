-- router.backlog: what is waiting.
-- returns: as router.recent_backlog, all of it
create or replace function router.backlog(
    out ready bigint, out oldest_seconds double precision, out parked bigint, out dead bigint,
    out notification_queue double precision, out discarded bigint
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
begin
    select b.ready, b.oldest_seconds, b.parked, b.dead, b.notification_queue, b.discarded
    into ready, oldest_seconds, parked, dead, notification_queue, discarded
    from router.recent_backlog(null) b;
end
$function$;
